"""AdamW under two learning rates, against torch's AdamW with a group for each."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graftwork_optim_core import TwoRateAdamW, param_groups


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.mlp, self.head = nn.Embedding(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(torch.tanh(self.mlp(self.table(x)))).square().mean()
        return out


@pytest.mark.parametrize("scale", [0.25, 1.0, 2.0])
def test_it_is_torchs_adamw_with_two_groups(scale: float) -> None:
    ours, theirs = Block(), Block()
    theirs.load_state_dict(ours.state_dict())
    optimizer = TwoRateAdamW(param_groups(ours, report="off"), lr=1e-2, scale=scale)
    matrix = theirs.mlp.weight
    others = [parameter for parameter in theirs.parameters() if parameter is not matrix]
    groups = [{"params": [matrix], "lr": 1e-2 * scale}, {"params": others}]
    reference = torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.0)
    for step in range(5):
        batch = torch.tensor([step % 5, 1, 2])
        for model, chosen in ((ours, optimizer), (theirs, reference)):
            chosen.zero_grad()
            model(batch).backward()
            chosen.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        # torch adds eps after the bias correction.
        torch.testing.assert_close(mine, other, rtol=2e-4, atol=2e-5)


def test_both_rates_are_told_per_weight() -> None:
    model = Block()
    optimizer = TwoRateAdamW(param_groups(model, report="off"), lr=1e-2)
    rates = {
        name: optimizer.rate_of(weight, group)
        for group in optimizer.param_groups
        for name, weight in zip(group["param_names"], group["params"], strict=True)
    }
    assert {name: rate for name, rate in rates.items() if rate != 1e-2} == {"mlp.weight": 2.5e-3}
