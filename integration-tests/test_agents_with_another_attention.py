"""A pretrained vision transformer with another attention, trained by agents that exchange with neighbours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from graftwork import build_recipe
from graftwork_attention import S3Attention
from graftwork_attention.conversion import load_converted
from graftwork_trainer.model_folder.layouts import write_layout


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A tiny ViT for colour images, as timm saves one."""
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2, "patch_size": 4, "img_size": 16}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5, **sizes)
    folder = tmp_path / "vit"
    folder.mkdir()
    write_layout(model, model.state_dict(), folder)
    return folder


def test_a_resumed_run_is_the_run_that_was_not_stopped(
    weights: Path, train_here: Callable[..., Path], assert_same_bits: Callable[..., None]
) -> None:
    def train(directory: str, steps: int, *, resume: bool = False) -> Path:
        recipe: dict[str, Any] = {
            "task": {"name": "image-classification", "batch_size": 8},
            "model": {"name": "timm-vit", "weights": str(weights)},
            "attention": {"name": "s3", "tokens": 2},
            "optimizer": {"name": "adamw", "lr": 1e-2},
            "strategy": {"name": "gt-semi-atc"},
            "topology": {"name": "ring"},
            "trainer": {
                "name": "decentralized",
                "agents": 3,
                "steps": steps,
                "schedule": "constant",
                "checkpoint_every": 3,
                "device": "cpu",
            },
        }
        return train_here(build_recipe(recipe).resolve(), directory, resume=resume)

    whole = train("whole", 6)
    train("halves", 3)
    halves = train("halves", 6, resume=True)
    assert_same_bits(whole, halves, at_least=30)

    result = json.loads((whole / "result.json").read_text())
    assert (result["status"], result["steps"], result["agents"]) == ("finished", 6, 3)
    model: Any = load_converted(whole / "model")
    assert [type(block.attn.mixer) for block in model.blocks] == [S3Attention] * 2
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 10)
