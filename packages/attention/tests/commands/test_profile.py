"""``graftwork attention profile`` on toy sizes.

Reached from here: ``commands/attention.py``, ``profile/shapes.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graftwork.cli import main
from graftwork_attention.profile.shapes import SHAPES

TOY = ("--dim", "16", "--heads", "2", "--lengths", "32,8", "--seconds", "0.2")


def test_every_registered_mixer_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attention", "profile", *TOY, "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    names = {"fnet", "linformer", "nystrom", "performer", "s3", "s4d", "sdpa"}
    content = json.loads((tmp_path / "profile.json").read_text())
    assert {cost["mixer"] for cost in content["costs"]} >= names
    assert content["lengths"] == [8, 32]
    assert all(f"\n{name} " in told for name in names)
    # However wide the terminal is, the answer is its last words.
    assert " ".join(content["answer"].split()) in " ".join(told.split())
    assert f"written to {tmp_path / 'profile.html'}" in told


def test_a_third_partys_mixer_is_measured_with_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "from graftwork import register\n"
        "from graftwork_attention.mixers.sdpa import SoftmaxAttention\n"
        "@register('attention')\n"
        "class Mine(SoftmaxAttention):\n"
        "    'Mine.'\n"
    )
    monkeypatch.chdir(tmp_path)
    arguments = ["attention", "profile", *TOY, "--over", "mine,sdpa", "--set", "mine.qkv_bias=false"]
    assert main(["--plugin", "mine.py", *arguments]) == 0
    content = json.loads((tmp_path / "attention-profile" / "profile.json").read_text())
    assert {cost["mixer"] for cost in content["costs"]} == {"mine", "sdpa"}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_possible_and_say_their_source(name: str) -> None:
    shape = SHAPES[name]
    assert shape.dim % shape.heads == 0
    assert list(shape.lengths) == sorted(set(shape.lengths))
    assert shape.source


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--shape", "bert-bas"], "--shape takes lra, "),
        (["--shape", "bert-bas"], "got 'bert-bas', did you mean 'bert-base'?"),
        (["--shape", "lra", "--dim", "8"], "give --shape or --dim, not both"),
        (["--dim", "8"], "--dim and --heads go together, got --dim alone"),
        (["--dim", "8", "--heads", "2"], "--dim and --heads need --lengths, like --lengths 512,1024,2048"),
        (["--dim", "8", "--heads", "3", "--lengths", "8"], "--heads must divide --dim"),
        (["--dim", "8", "--heads", "2", "--lengths", "0,8"], "--lengths takes whole numbers from 1 on"),
        (["--dim", "8", "--heads", "2", "--lengths", "many"], "--lengths takes whole numbers from 1 on"),
        ([*TOY, "--over", "spda"], "spda"),
        ([*TOY, "--over", ","], "--over takes names of mixers, like sdpa,s3, got ','"),
        ([*TOY, "--over", "s3", "--set", "sdpa.qkv_bias=false"], "--set takes MIXER.KEY=VALUE of a mixer"),
        ([*TOY, "--over", "s3", "--set", "s3.tokenz=3"], "tokenz"),
        ([*TOY, "--batch", "0"], "--batch must be at least 1, got 0"),
        ([*TOY, "--seconds", "0"], "--seconds must be above 0, got 0.0"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["attention", "profile", *arguments, "--out", str(tmp_path / "never")]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert not (tmp_path / "never").exists()
