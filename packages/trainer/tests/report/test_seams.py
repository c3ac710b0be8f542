"""Where stages begin in a figure."""

from __future__ import annotations

from graftwork_trainer.report.drawing import WIDE, arrange, new_axes
from graftwork_trainer.report.seams import SEAM_ROOM, Seam, draw_seams


def test_names_of_stages_fit_between_their_seams():
    figure, axes = new_axes(WIDE)
    axes.set_xlim(0, 100)
    arrange(figure, axes, WIDE, y_title="y", x_title="x", right=12, title="", note="", above=SEAM_ROOM)
    names = ["general pretraining on prose", "a long name for a short stage", "mine"]
    draw_seams(axes, [Seam(0, names[0]), Seam(80, names[1]), Seam(88, names[2])], WIDE)
    first, second, third = axes.texts
    assert first.get_text() == names[0]
    assert second.get_text().endswith("…")
    assert names[1].startswith(second.get_text()[:-1])
    assert third.get_text() == "mine"
    figure.canvas.draw()
    assert second.get_window_extent().x1 <= third.get_window_extent().x0
    # The first stage begins where the axis does, and is marked by its name alone.
    assert len(axes.lines) == 2
