"""What a run keeps of its task and of its optimizer."""

from __future__ import annotations

import math

import torch

from graftwork_trainer.task_members import rates_of


class Halving(torch.optim.SGD):
    """Moves matrices by half of the rate, and says so."""

    def rate_of(self, parameter, group):
        return group["lr"] / 2 if parameter.ndim > 1 else group["lr"]


def test_rates_are_those_of_groups():
    vectors = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    optimizer = torch.optim.SGD(
        [{"params": vectors[:1], "lr": torch.tensor(0.5)}, {"params": vectors[1:]}], lr=0.25
    )
    assert rates_of(optimizer) == {
        "learning_rates": [{"rate": 0.5, "tensors": 1}, {"rate": 0.25, "tensors": 2}]
    }


def test_an_optimizer_that_has_several_rates_says_which():
    optimizer = Halving(torch.nn.Linear(2, 2).parameters(), lr=0.5)
    assert rates_of(optimizer)["learning_rates"] == [
        {"rate": 0.5, "tensors": 1},
        {"rate": 0.25, "tensors": 1},
    ]


def test_what_has_no_rate_is_left_out():
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.5)
    optimizer.param_groups[0]["lr"] = math.nan
    assert rates_of(optimizer) == {"learning_rates": []}
