"""Rows of one matrix that are the weights of models."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graftwork_decentral import AgentBank


def models(count: int) -> list[nn.Module]:
    return [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)) for _ in range(count)]


def test_weights_keep_their_values_and_become_views_of_rows() -> None:
    originals = models(3)
    before = [[p.detach().clone() for p in model.parameters()] for model in originals]
    bank = AgentBank(originals)
    weights = bank.segments[0].weights
    for agent, model in enumerate(bank.models):
        for parameter, value in zip(model.parameters(), before[agent], strict=True):
            assert torch.equal(parameter, value)
            assert parameter.untyped_storage().data_ptr() == weights.untyped_storage().data_ptr()
    weights.zero_()
    assert all(p.abs().sum() == 0 for model in bank.models for p in model.parameters())


def test_parameters_begin_at_multiples_of_64_bytes() -> None:
    bank = AgentBank(models(2))
    assert {(slot.start * 4) % 64 for slot in bank.segments[0].slots} == {0}
    assert int(bank.columns()[0].sum()) == sum(p.numel() for p in bank.models[0].parameters())


def test_gradients_are_gathered_and_put_back_as_views() -> None:
    bank = AgentBank(models(2))
    bank.models[0](torch.ones(1, 3)).sum().backward()
    flat = bank.segments[0].gradients()
    assert flat[1].abs().sum() == 0
    expected = [p.grad.clone() for p in bank.models[0].parameters()]
    bank.segments[0].set_gradients(2 * flat)
    for parameter, gradient in zip(bank.models[0].parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, 2 * gradient)


def test_each_dtype_has_a_matrix_of_its_own_and_frozen_parameters_have_none() -> None:
    def mixed() -> nn.Module:
        model = nn.ModuleDict(
            {"low": nn.Linear(2, 2).bfloat16(), "high": nn.Linear(2, 2), "still": nn.Linear(2, 2)}
        )
        return model.requires_grad_(True)

    two = [mixed(), mixed()]
    two[1]["still"].load_state_dict(two[0]["still"].state_dict())
    for model in two:
        model["still"].requires_grad_(False)
    bank = AgentBank(two)
    assert [segment.weights.dtype for segment in bank.segments] == [torch.bfloat16, torch.float32]
    assert [slot.name for segment in bank.segments for slot in segment.slots] == [
        "low.weight",
        "low.bias",
        "high.weight",
        "high.bias",
    ]


def test_a_row_can_be_written_into_a_model_apart_from_the_bank() -> None:
    bank = AgentBank(models(2))
    apart = bank.blank()
    bank.write(apart, [segment.weights[1] for segment in bank.segments])
    for one, other in zip(apart.parameters(), bank.models[1].parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.data_ptr() != other.data_ptr()


def test_what_cannot_be_a_bank_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        AgentBank([])
    with pytest.raises(ValueError, match="model 1 differs from model 0 at"):
        AgentBank([nn.Linear(2, 1), nn.Linear(3, 1)])
    with pytest.raises(ValueError, match="have none"):
        AgentBank([nn.ReLU()])
    shared = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="share"):
        AgentBank([shared, shared])
