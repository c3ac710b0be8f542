"""Without matplotlib, tensorboard and rich: the same numbers, and one sentence on what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

from graftwork_trainer.report import print_table, read_run

HIDDEN = ("matplotlib", "tensorboard", "rich")
INSTALL = "pip install 'graftwork-trainer[report]'"


@pytest.fixture
def without_extras(monkeypatch):
    """As if none of them were installed: what was imported before is out of reach, too."""
    for module in [name for name in sys.modules if name.partition(".")[0] in HIDDEN]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("figures", "costs", "curves", "drawing"):
        monkeypatch.delitem(sys.modules, f"graftwork_trainer.report.{module}", raising=False)
    for module in HIDDEN:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.usefixtures("without_extras")
def test_the_report_has_everything_but_figures_and_says_how_to_get_them(two_variants, written, tmp_path):
    report, _, page = written(two_variants)
    assert report.figures == ()
    assert not (tmp_path / "out" / "plots").exists()
    words = " ".join(page.words.split())
    assert words.count(INSTALL) == 1
    assert "reached validation perplexity 41.3 ± 0.3" in words
    assert "40.2 ± 0.2 best" in words
    assert "svg" not in page.tags
    assert "PNG files" not in words


def test_with_matplotlib_nothing_is_to_install(two_variants, written):
    assert "pip install" not in written(two_variants)[2].words


@pytest.mark.usefixtures("without_extras")
def test_the_terminal_shows_the_same_table(two_variants, capsys):
    print_table([read_run(path) for path in two_variants], width=80)
    assert "40.2 ± 0.2 *" in capsys.readouterr().out


def test_in_a_process_without_them_the_report_is_written_and_printed(two_variants):
    code = (
        f"import sys; sys.modules |= dict.fromkeys({HIDDEN!r}); from pathlib import Path; "
        "from graftwork_trainer.report import print_table, read_run, write_report; "
        "runs = list(map(Path, sys.argv[2:])); "
        "print(write_report(runs, Path(sys.argv[1]), title='x').page); print_table(list(map(read_run, runs)))"
    )
    out = two_variants[0].parent / "out"
    run = subprocess.run(
        [sys.executable, "-c", code, str(out), *map(str, two_variants)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    assert "40.2 ± 0.2 *" in run.stdout
    assert INSTALL in (out / "report.html").read_text("utf-8").replace("&#39;", "'")
