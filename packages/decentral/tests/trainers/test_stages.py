"""Agents in one stage, one model in the next."""

from __future__ import annotations

from pathlib import Path

import torch

from graftwork import build_recipe
from graftwork_trainer import train
from graftwork_trainer.checkpoint import open_checkpoint


def test_one_model_begins_with_the_mean_of_the_agents_before_it(lines_plugin: None, tmp_path: Path) -> None:
    recipe = {
        "task": {"name": "lines"},
        "optimizer": {"name": "plain-adamw", "lr": 0.1},
        "strategy": {"name": "diffusion"},
        "trainer": {"name": "decentralized", "agents": 3, "steps": 9, "device": "cpu"},
        "stages": [
            {"name": "agents"},
            {
                "name": "one",
                "task": {"head_lr": 0.0},
                "trainer": {"name": "standard", "steps": 1, "device": "cpu"},
            },
        ],
    }
    trained = train(build_recipe(recipe).resolve(), tmp_path / "run", quiet=True)
    last = max((tmp_path / "run/stages/1-agents/checkpoints").glob("step-*"))
    agents = open_checkpoint(last).part("model")["model"]
    mean = torch.stack([agents[f"agent-000{agent}.head.weight"] for agent in range(3)]).mean(0)
    assert trained.model is not None
    assert torch.allclose(trained.model.state_dict()["head.weight"], mean, atol=1e-7)
