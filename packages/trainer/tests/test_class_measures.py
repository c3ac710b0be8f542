"""Measures of predicted classes against arithmetic by hand."""

from __future__ import annotations

import pytest
import torch

from graftwork_trainer.class_measures import accuracy, macro_f1

LABELS = torch.tensor([0, 1, 1, 0])


def test_accuracy_and_macro_f1_by_hand() -> None:
    # Class 0: one hit, two predicted, two actual; class 1 the same; class 2 is nowhere.
    predictions = torch.tensor([0, 1, 0, 1])
    assert accuracy(predictions, LABELS, 3).item() == 0.5
    assert macro_f1(predictions, LABELS, 3).item() == pytest.approx(0.5)
    # Class 0: 1 hit of 1 predicted and 2 actual; class 1: 2 hits of 3 and 2; class 2 occurs in neither.
    assert macro_f1(torch.tensor([0, 1, 1, 1]), LABELS, 3).item() == pytest.approx((2 / 3 + 4 / 5) / 2)
    # A class that is only predicted counts, with nothing.
    assert macro_f1(torch.tensor([0, 1, 1, 2]), LABELS, 3).item() == pytest.approx((2 / 3 + 1 + 0) / 3)
