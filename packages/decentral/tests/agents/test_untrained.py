"""What agents neither train nor mix must be alike."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from graftwork_decentral import AgentBank
from graftwork_decentral.agents.untrained import untrained_digest


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.norm = nn.BatchNorm1d(2)
        self.head = nn.Linear(2, 1)
        self.register_buffer("own_mean", torch.ones(2))


def still(width: int) -> nn.Linear:
    return nn.Linear(2, width).requires_grad_(False)


def freeze_head(model: Model) -> None:
    model.head.requires_grad_(False)


CHANGES: dict[str, tuple[Callable[[Model], object], str]] = {
    "a frozen weight": (lambda model: model.frozen.weight.data.add_(1e-6), "'frozen.weight' of model 1"),
    "a frozen bias": (lambda model: model.frozen.bias.data.fill_(torch.nan), "'frozen.bias' of model 1"),
    "a frozen weight's shape": (lambda model: setattr(model, "frozen", still(3)), "'frozen.bias' of model 1"),
    "what is frozen": (freeze_head, "what they train; model 1 .* at 'head.bias'"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_agents_that_differ_in_what_is_never_mixed_are_refused(change: str) -> None:
    first = Model()
    other = copy.deepcopy(first)
    CHANGES[change][0](other)
    with pytest.raises(ValueError, match=CHANGES[change][1]):
        AgentBank([first, other])
    assert untrained_digest(first) != untrained_digest(other)


def test_what_is_trained_or_counted_of_an_agents_own_data_may_differ() -> None:
    first = Model()
    first.frozen.bias.data.fill_(torch.nan)  # which is like its copy
    other = copy.deepcopy(first)
    other.head.weight.data.zero_()
    other.norm.running_mean.add_(1)
    other.norm.num_batches_tracked.add_(1)
    other.own_mean.mul_(2)
    assert len(AgentBank([first, other])) == 2
    assert untrained_digest(first) == untrained_digest(other)
