"""A dry run of agents refuses what their first step refuses, in the same words."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from graftwork import build_recipe
from graftwork.cli import main

DIGITS: dict[str, Any] = {
    "task": {"name": "image-classification"},
    "model": {"name": "mlp", "hidden": 4},
    "optimizer": {"name": "plain-adamw"},
    "strategy": {"name": "diffusion"},
    "topology": {"name": "ring"},
    "trainer": {"name": "decentralized", "agents": 4, "steps": 5},
}
POLICY: dict[str, Any] = {
    "task": {"name": "policy-evaluation", "states": 20, "features": 3},
    "topology": {"name": "ring", "lazy": True},
    "trainer": {"name": "bilevel", "agents": 4, "steps": 4},
}
CLEANING: dict[str, Any] = {
    "task": {"name": "hyper-cleaning"},
    "topology": {"name": "ring", "lazy": True},
    "trainer": {"name": "bilevel", "agents": 4, "steps": 4},
}
MISTAKES: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "a partition that leaves an agent without samples": (
        DIGITS, ["task.alpha=0.0001", "trainer.agents=11"], "task.alpha"
    ),
    "fewer samples than agents": (CLEANING, ["task.clean_samples=3", "task.partition=iid"], "agents"),
    "files that are not there": (DIGITS, ["task.data=idx", "task.folder=/nowhere"], "/nowhere"),
    "a strategy that the graph does not suit": (
        DIGITS, ["strategy.name=exact-diffusion", "trainer.lazy=never"], "lazy"
    ),
    "no agent": (DIGITS, ["trainer.agents=0"], "agents must be at least 1, got 0"),
    "links that are always lost": (DIGITS, ["faults.name=standard", "faults.link_loss=1.5"], "link_loss"),
    "a task without a bilevel problem": (POLICY, ["task.name=lines"], "lines"),
    "more samples than there are": (CLEANING, ["task.train_samples=2000"], "task.train_samples"),
    "a step that is no step": (POLICY, ["trainer.alpha=-1.0"], "alpha"),
}  # fmt: skip


@pytest.mark.usefixtures("lines_plugin")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_dry_run_refuses_what_the_first_step_refuses(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("graftwork_decentral.tasks.partition._ATTEMPTS", 3)
    recipe, settings, named = MISTAKES[mistake]
    Path("recipe.toml").write_text(build_recipe(recipe).to_toml())
    words = [word for setting in (*settings, "trainer.device=cpu") for word in ("--set", setting)]
    told = []
    for more in (["--quiet", "--no-report"], ["--dry-run"]):
        assert main(["train", "recipe.toml", "--out", "run", *words, *more]) == 2
        told.append(capsys.readouterr().err)
        shutil.rmtree("run", ignore_errors=True)
    of_training, of_dry_run = (one[one.rindex("graftwork: error: ") :] for one in told)
    assert of_dry_run == of_training
    assert named in of_dry_run


@pytest.mark.parametrize("recipe", [DIGITS, POLICY], ids=["decentralized", "bilevel"])
@pytest.mark.usefixtures("lines_plugin")
def test_a_dry_run_of_agents_tells_of_their_data(
    recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.toml").write_text(build_recipe(recipe).to_toml())
    assert main(["train", "recipe.toml", "--dry-run", "--set", "trainer.device=cpu"]) == 0
    told = capsys.readouterr().out
    assert "\nfirst step       nothing is in its way\n" in told
    facts = {"classes": "10", "partition": "dirichlet 0.1"} if recipe is DIGITS else {"states": "20"}
    for name, value in facts.items():
        assert f"\n{name:<16} {value}\n" in told
    assert not Path("runs").exists()
