"""The table that ``graftwork reproduce`` prints, whatever is installed to print it."""

from __future__ import annotations

import subprocess
import sys

from graftwork import Finding
from graftwork_trainer.commands.reproduce import _print

FINDINGS = [
    Finding("state of GWT-2 at 60M, GB", 0.16, 0.12, "weights in bfloat16"),
    Finding("weight after a step", None, 0.5, expected=0.4, source="by hand"),
    Finding("a quantity " + "with a long name " * 4, None, 1234567.0),
]


def test_figures_stand_under_each_other_and_notes_below_them(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _print("gwt", FINDINGS)
    assert capsys.readouterr().out.splitlines() == [
        "gwt: 3 figures; the expected ones: 1 published, 1 by hand, 1 unknown",
        "",
        "quantity                            expected     source     measured  difference",
        "-" * 80,
        "state of GWT-2 at 60M, GB               0.16  published         0.12     -25.00%",
        "  weights in bfloat16",
        "weight after a step                      0.4    by hand          0.5     +25.00%",
        "a quantity with a long name with a                       1.23457e+06",
        "  long name with a long name with",
        "  a long name",
    ]


def test_long_notes_are_broken(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    _print("p", [Finding("x", 1.0, 1.0, "many words " * 20)])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60


def test_it_is_printed_without_rich():
    code = (
        "import sys; sys.modules['rich'] = None; from graftwork import Finding; "
        "from graftwork_trainer.commands.reproduce import _print; _print('p', [Finding('x', 2.0, 3.0)])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "+50.00%" in run.stdout
