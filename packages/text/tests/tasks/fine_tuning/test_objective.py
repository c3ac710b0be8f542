"""Objectives and metrics against arithmetic by hand."""

from __future__ import annotations

import math

import pytest
import torch

from graftwork import GraftworkError
from graftwork_text.tasks.fine_tuning.objective import accuracy, loss_of, macro_f1

SCORES = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, -1.0], [3.0, 1.0, 0.0], [0.0, 0.5, 0.0]])
LABELS = torch.tensor([0, 1, 1, 0])


def test_cross_entropy() -> None:
    by_hand = -sum(
        math.log(math.exp(row[label]) / sum(map(math.exp, row)))
        for row, label in zip(SCORES.tolist(), LABELS.tolist(), strict=True)
    ) / len(LABELS)
    assert loss_of(SCORES, LABELS, "cross-entropy").item() == pytest.approx(by_hand)


def test_accuracy_and_macro_f1_by_hand() -> None:
    # Class 0: one hit, two predicted, two actual; class 1 the same; class 2 is nowhere.
    predictions = SCORES.argmax(1)
    assert predictions.tolist() == [0, 1, 0, 1]
    assert accuracy(predictions, LABELS, 3).item() == 0.5
    assert macro_f1(predictions, LABELS, 3).item() == pytest.approx(0.5)
    # Class 0: 1 hit of 1 predicted and 2 actual; class 1: 2 hits of 3 and 2; class 2 occurs in neither.
    assert macro_f1(torch.tensor([0, 1, 1, 1]), LABELS, 3).item() == pytest.approx((2 / 3 + 4 / 5) / 2)
    # A class that is only predicted counts, with nothing.
    assert macro_f1(torch.tensor([0, 1, 1, 2]), LABELS, 3).item() == pytest.approx((2 / 3 + 1 + 0) / 3)


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
