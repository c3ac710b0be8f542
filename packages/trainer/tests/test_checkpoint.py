"""Checkpoints are whole or absent, and say what is wrong when they are neither."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from graftwork import GraftworkError
from graftwork_trainer import checkpoint
from graftwork_trainer.checkpoint import Checkpoints

CPU = torch.device("cpu")


def fresh(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()


def bits(model, optimizer):
    moments = [
        state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq", "step")
    ]
    return [*model.parameters(), *moments]


def test_a_checkpoint_brings_back_weights_moments_generator_and_state(tmp_path):
    store = Checkpoints(tmp_path / "checkpoints")
    model, optimizer = fresh()
    step(model, optimizer)
    path = store.save(1, model, optimizer, {"best_loss": 0.5})
    assert path.name == "step-000001"
    step(model, optimizer)
    other, other_optimizer = fresh(seed=7)
    assert store.load(other, other_optimizer, CPU) == {"step": 1, "best_loss": 0.5}
    step(other, other_optimizer)
    for a, b in zip(bits(model, optimizer), bits(other, other_optimizer), strict=True):
        assert torch.equal(a, b)


def test_loading_without_a_checkpoint_is_none(tmp_path):
    assert Checkpoints(tmp_path / "checkpoints").load(*fresh(), CPU) is None


def test_old_checkpoints_and_leftovers_are_pruned(tmp_path):
    store = Checkpoints(tmp_path, keep=2)
    model, optimizer = fresh()
    (tmp_path / "step-000099.partial").mkdir()
    for number in (1, 2, 3):
        store.save(number, model, optimizer, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000002", "step-000003"]


def test_a_partial_checkpoint_is_never_read(tmp_path):
    store = Checkpoints(tmp_path)
    model, optimizer = fresh()
    store.save(5, model, optimizer, {})
    store.save(6, model, optimizer, {}).rename(tmp_path / "step-000006.partial")
    assert store.load(model, optimizer, CPU)["step"] == 5


@pytest.mark.parametrize("damage", ["metadata", "state", "shard", "truncated"])
def test_an_unreadable_checkpoint_is_one_sentence_that_names_the_way_out(tmp_path, damage):
    store = Checkpoints(tmp_path)
    model, optimizer = fresh()
    step(model, optimizer)
    store.save(5, model, optimizer, {})
    path = store.save(10, model, optimizer, {})
    shard = next(path.glob("*.distcp"))
    if damage == "metadata":
        (path / ".metadata").unlink()
    elif damage == "state":
        (path / "state.json").write_text("{")
    elif damage == "shard":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(GraftworkError) as caught:
        store.load(model, optimizer, CPU)
    message = str(caught.value)
    assert f"checkpoint {path}: cannot be read: " in message
    assert "remove that folder to go on from step 5" in message
    assert "\n" not in message


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    store = Checkpoints(tmp_path)
    store.save(1, *fresh(), {})
    wider = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
    with pytest.raises(GraftworkError, match="cannot be read"):
        store.load(wider, torch.optim.AdamW(wider.parameters()), CPU)


def test_a_failed_write_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    store = Checkpoints(tmp_path)
    model, optimizer = fresh()
    store.save(1, model, optimizer, {})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_distributed", full)
    with pytest.raises(GraftworkError, match="No space left on device; the checkpoint of step 1 is whole"):
        store.save(2, model, optimizer, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert json.loads((tmp_path / "step-000001" / "state.json").read_text()) == {"step": 1}
