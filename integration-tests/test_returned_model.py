"""The model that a training returns is the one that was evaluated and written, whatever the optimizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from graftwork_trainer import train


@pytest.mark.parametrize("trainer", ["standard", "decentralized"])
@pytest.mark.parametrize("optimizer", [{"name": "lozo", "backend": "sidepath"}, {"name": "a-nsgdc"}])
def test_it_holds_what_an_optimizer_kept_beside_its_weights(
    optimizer: dict[str, str], trainer: str, tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(30):
        (texts / f"{number}.txt").write_text(f"Document {number}. " + "The miller sells a lantern. " * 40)
    recipe = {
        "task": {
            "name": "lm-pretrain",
            "data": str(texts),
            "vocabulary_size": 300,
            "sequence_length": 32,
            "batch_size": 2,
            "evaluation_tokens": 128,
        },
        "model": {"name": "llama-tiny", "hidden_size": 16, "intermediate_size": 32, "layers": 1},
        "optimizer": {"lr": 1e-3, **optimizer},
        "trainer": {
            "name": trainer,
            "steps": 4,
            "warmup_steps": 0,
            "evaluate_every": 0,
            **({"agents": 2} if trainer == "decentralized" else {}),
        },
    }
    trained = train(recipe, tmp_path / "run", quiet=True)
    (written,) = (tmp_path / "run" / "model").glob("*.safetensors")
    held = trained.model.state_dict()
    for name, value in load_file(written).items():
        torch.testing.assert_close(held[name], value, rtol=1e-6, atol=1e-7)
    # Nor is anything left in the way of torch's functions.
    assert torch._C._len_torch_function_stack() == 0
