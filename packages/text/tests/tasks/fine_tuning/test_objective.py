"""Objectives and metrics against arithmetic by hand."""

from __future__ import annotations

import math

import pytest
import torch

from graftwork import GraftworkError
from graftwork_text.tasks.fine_tuning.objective import loss_of

SCORES = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, -1.0], [3.0, 1.0, 0.0], [0.0, 0.5, 0.0]])
LABELS = torch.tensor([0, 1, 1, 0])


def test_cross_entropy() -> None:
    by_hand = -sum(
        math.log(math.exp(row[label]) / sum(map(math.exp, row)))
        for row, label in zip(SCORES.tolist(), LABELS.tolist(), strict=True)
    ) / len(LABELS)
    assert loss_of(SCORES, LABELS, "cross-entropy").item() == pytest.approx(by_hand)


def test_objectives_without_gradient_are_negative_metrics() -> None:
    with torch.no_grad():
        assert loss_of(SCORES, LABELS, "accuracy").item() == -0.5
        assert loss_of(SCORES, LABELS, "f1").item() == pytest.approx(-0.5)


@pytest.mark.parametrize("objective", ["accuracy", "f1"])
def test_an_optimizer_that_wants_a_gradient_of_them_is_told_which_option_is_wrong(objective: str) -> None:
    with pytest.raises(
        GraftworkError, match=f"task.objective = '{objective}' has no gradient.*optimizer.name"
    ):
        loss_of(SCORES, LABELS, objective)  # type: ignore[arg-type]
