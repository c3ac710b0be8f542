"""The best weights of agents: those of their mean, which is what is evaluated; and starting from one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork import build_recipe
from graftwork_trainer import train
from graftwork_trainer.checkpoint import open_checkpoint
from graftwork_trainer.training import Trained

RECIPE: dict[str, Any] = {
    "task": {"name": "lines"},
    "optimizer": {"name": "plain-adamw", "lr": 0.1},
    "strategy": {"name": "diffusion"},
    "trainer": {
        "name": "decentralized",
        "agents": 3,
        "steps": 9,
        "schedule": "constant",
        "evaluate_every": 2,
        "device": "cpu",
    },
}


@pytest.fixture
def trained(lines_plugin: None, tmp_path: Path) -> Callable[..., Trained]:
    def run(name: str, task: Mapping[str, Any] = {}, **options: Any) -> Trained:
        sections = {**RECIPE, "task": {**RECIPE["task"], **task}, "trainer": {**RECIPE["trainer"], **options}}
        return train(build_recipe(sections).resolve(), tmp_path / name, quiet=True)

    return run


def weights_in(run: Path, pattern: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = open_checkpoint(max((run / "checkpoints").glob(pattern))).part("model")[
        "model"
    ]
    return found


def has(model: Any, weights: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_agents_that_stop_early_end_with_the_mean_that_was_best(trained: Callable[..., Trained]) -> None:
    """Steps so long that it does not get better for ever."""
    early = trained("early", {"head_lr": 50.0}, best_by="worst_agent_mse", patience=1, steps=40)
    result = json.loads((early.run / "result.json").read_text())
    assert result["status"] == "stopped-early"
    assert result["best_step"] == result["steps"] - 2
    lines = [json.loads(line) for line in (early.run / "metrics.jsonl").read_text().splitlines()]
    (best,) = (line for line in lines if line["step"] == result["best_step"] and "validation/mse" in line)
    assert result["metrics"] == early.metrics
    assert result["metrics"]["validation/worst_agent_mse"] == best["validation/worst_agent_mse"]
    assert has(early.model, weights_in(early.run, "best-*"))


def test_a_training_starts_from_the_mean_of_agents(trained: Callable[..., Trained]) -> None:
    first = trained("first")
    started = trained("started", {"head_lr": 0.0}, start_from=str(first.run), steps=1)
    agents = weights_in(first.run, "step-*")
    mean = torch.stack([agents[f"agent-000{agent}.head.weight"] for agent in range(3)]).mean(0)
    assert torch.allclose(started.model.state_dict()["head.weight"], mean, atol=1e-7)
    best = trained("best", {"head_lr": 0.0}, start_from=f"{first.run}:best", steps=1)
    wanted = weights_in(first.run, "best-*")["head.weight"]
    assert torch.allclose(best.model.state_dict()["head.weight"], wanted, atol=1e-7)
