"""Pages about files whose names no encoding has."""

from __future__ import annotations

from markupsafe import Markup, escape

from graftwork_trainer.page import write_page


def test_a_name_that_is_no_utf8_is_shown_and_the_page_is_whole(tmp_path):
    write_page(tmp_path / "page.html", Markup("<p>{}</p>").format(escape("odd\udcff.csv")), title="Odd")
    assert "<p>odd?.csv</p>" in (tmp_path / "page.html").read_text("utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
