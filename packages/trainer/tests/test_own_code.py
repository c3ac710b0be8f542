"""Trainings with ``--plugin FILE``: what a run keeps of the file, and tells whoever goes on with it."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from graftwork.cli import main

MINE = """
import torch
from graftwork import register
from graftwork_toy.tasks import Regression

@register("task")
class Mine(Regression):
    def __init__(self, *, batch_size: int = 4) -> None:
        super().__init__(batch_size=batch_size)

@register("optimizer")
class Own(torch.optim.AdamW):
    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)
"""
RECIPE = """
[task]
name = "mine"
[optimizer]
name = "own"
[trainer]
steps = 4
checkpoint_every = 2
device = "cpu"
"""


@pytest.fixture
def mine(toy, tmp_path, monkeypatch):
    """The file, beside a recipe that names what it registers, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "mine.py"


def graftwork(*arguments):
    return main(["--plugin", "mine.py", *arguments])


def train(*arguments):
    return graftwork("train", "--quiet", "--no-report", *arguments)


@pytest.fixture
def run(mine):
    assert train("recipe.toml", "--out", "run") == 0
    return mine.parent / "run"


def test_a_run_keeps_the_name_and_the_digest_of_a_file(run):
    environment = json.loads((run / "environment.json").read_text())
    assert environment["plugin_files"] == {"mine.py": sha256(MINE.encode()).hexdigest()}
    assert "mine.py" not in environment["packages"]


def test_it_says_which_file_it_needs(run, capsys):
    digest = sha256(MINE.encode()).hexdigest()[:12]
    absent = f"it was trained with --plugin mine.py (sha256 {digest}…), which is not given now"
    assert main(["train", "--resume", "run"]) == 2
    told = capsys.readouterr().err
    assert told == (
        f"graftwork: error: run: {absent}; give it again: `graftwork --plugin mine.py train --resume run`\n"
    )
    assert main(["verify", "run"]) == 0
    assert f"resumes exactly here: no, because run: {absent}" in capsys.readouterr().out
    assert graftwork("verify", "run") == 0
    assert "resumes exactly here: yes" in capsys.readouterr().out


def test_a_file_that_is_another_is_told_once_and_resumes(run, mine, capsys):
    mine.write_text(MINE + "# another\n")
    changed = "--plugin mine.py was sha256 "
    assert graftwork("verify", "run") == 0
    assert f"resumes exactly here: no, because {changed}" in capsys.readouterr().out
    for told in (1, 0):
        assert train("--resume", "run") == 0
        assert capsys.readouterr().err.count(f"run: {changed}") == told


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a b.py": "0" * 64}, "graftwork --plugin 'a b.py' train --resume run`"),
        ({"$(id).py": "0" * 64}, "graftwork --plugin '$(id).py' train --resume run`"),
        ({"a\nb.py": "0" * 64, "b.py": 3}, "no task called 'mine'"),
        (["mine.py"], "no task called 'mine'"),
    ],
)
def test_what_somebody_else_wrote_into_a_run_is_told_as_one_sentence(run, capsys, files, told):
    path = run / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "plugin_files": files}))
    assert main(["train", "--resume", "run"]) == 2
    assert told in capsys.readouterr().err


def test_what_an_unknown_name_is_for_another_reason_is_left(run, capsys):
    assert train("--resume", "run", "--set", "optimizer.name=adam") == 2
    assert "no optimizer called 'adam', did you mean 'adamw'" in capsys.readouterr().err


def test_compare_gives_the_file_to_every_process(mine, toy_folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(toy_folder))
    over = ("--over", "optimizer.name=own")
    assert graftwork("compare", "recipe.toml", *over, "--processes", "2", "--out", "two") == 0
    environment = json.loads((mine.parent / "two" / "own-seed0" / "environment.json").read_text())
    assert (environment["world_size"], list(environment["plugin_files"])) == (2, ["mine.py"])
