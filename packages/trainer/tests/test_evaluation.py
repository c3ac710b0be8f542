"""Evaluation by rows and whole, in one process; several are test_parallel's.

Reached from here: ``data/held_out.py``.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graftwork import GraftworkError
from graftwork_trainer.evaluation import evaluate, evaluation_mode, kept_as_shown


class Rows:
    """Rows as they are given, batch by batch."""

    def __init__(self, *batches):
        self.given = batches

    def batches(self, split, *, rank, world_size, seed):
        assert (rank, world_size) == (0, 1)
        return [] if split == "empty" else list(self.given)

    def evaluate_rows(self, model, batch):
        return batch

    def metrics(self, rows):
        self.rows = rows
        return {"loss": float(torch.as_tensor(rows["x"]).sum())}


def test_rows_come_in_the_order_of_batches():
    task = Rows({"x": torch.tensor([1, 2]), "y": ["a", "b"]}, {"x": torch.tensor([3]), "y": ["c"]})
    assert evaluate(task, nn.Linear(1, 1)) == {"loss": 6.0}
    assert task.rows["x"].tolist() == [1, 2, 3]
    assert task.rows["y"] == ["a", "b", "c"]


def test_numbered_rows_are_sorted_and_each_is_kept_once():
    # As a sampler does that pads the last batch with examples it has given already.
    task = Rows(
        {"sample": torch.tensor([2, 0]), "x": [20, 0]},
        {"sample": torch.tensor([1, 2]), "x": [10, 99]},
    )
    evaluate(task, nn.Linear(1, 1))
    assert task.rows["x"] == [0, 10, 20]
    assert task.rows["sample"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"x": [1, 2], "y": [1]}, "an entry per example in every column, got 2 of 'x', 1 of 'y'"),
        ({}, "an entry per example in every column, got none"),
        ({"x": torch.tensor(1.0)}, "an entry per example in every column, got 0 of 'x'"),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(rows, sentence):
    with pytest.raises(GraftworkError, match=sentence):
        evaluate(Rows(rows), nn.Linear(1, 1))


def test_nothing_to_evaluate_is_said():
    with pytest.raises(GraftworkError, match=r"batches\('empty', \.\.\.\) gave no batch"):
        evaluate(Rows(), nn.Linear(1, 1), "empty")


def test_another_part_needs_rows():
    class Whole:
        def evaluate(self, model):
            return {"loss": 1.0}

    assert evaluate(Whole(), nn.Linear(1, 1)) == {"loss": 1.0}
    with pytest.raises(GraftworkError, match=r"Whole evaluates its validation data alone, not 'test'"):
        evaluate(Whole(), nn.Linear(1, 1), "test")


def test_modes_are_restored_module_by_module_also_after_a_failure():
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1), nn.Dropout())
    model[1].eval()
    seen = []

    def fail():
        seen.append((any(module.training for module in model.modules()), torch.is_grad_enabled()))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), evaluation_mode(model):
        fail()
    assert seen == [(False, False)]
    assert [module.training for module in model] == [True, False, True]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"x": [1]}, {"x": [1], "y": [1]}),
        ({"x": torch.ones(1)}, {"x": [1]}),
        ({"x": torch.ones(1, 2)}, {"x": torch.ones(1, 3)}),
    ],
)
def test_batches_whose_columns_differ_are_refused(first, second):
    with pytest.raises(GraftworkError, match="must be alike in all batches"):
        evaluate(Rows(first, second), nn.Linear(1, 1))


def test_a_sample_is_a_whole_number():
    with pytest.raises(GraftworkError, match="the column 'sample' of evaluate_rows must hold a whole number"):
        evaluate(Rows({"x": [1], "sample": torch.ones(1, 1, dtype=torch.int64)}), nn.Linear(1, 1))


def test_rows_are_kept_although_a_task_uses_their_memory_again():
    class Reusing(Rows):
        memory = torch.zeros(2)

        def evaluate_rows(self, model, batch):
            self.memory[:] = batch["x"]
            return {"x": self.memory}

    task = Reusing({"x": torch.tensor([1.0, 2.0])}, {"x": torch.tensor([3.0, 4.0])})
    evaluate(task, nn.Linear(1, 1))
    assert task.rows["x"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("metrics", [None, 1.0, {"loss": None}, {"loss": torch.ones(2)}])
def test_what_is_no_number_is_said(metrics):
    class Whole:
        def evaluate(self, model):
            return metrics

    with pytest.raises(GraftworkError, match="an evaluation must give numbers by their names, got"):
        evaluate(Whole(), nn.Linear(1, 1))


def test_metrics_of_rows_are_computed_outside_of_autocast():
    class Exact(Rows):
        def evaluate_rows(self, model, batch):
            return {"x": model(batch["x"]), "low": [torch.is_autocast_enabled("cpu")]}

        def metrics(self, rows):
            assert rows["low"] == [True]
            return {"loss": float(torch.is_autocast_enabled("cpu"))}

    forward = torch.autocast("cpu", dtype=torch.bfloat16)
    assert evaluate(Exact({"x": torch.ones(1, 1)}), nn.Linear(1, 1), forward=forward) == {"loss": 0.0}


def test_weights_that_are_shown_are_kept_and_what_is_of_another_kind_is_not() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    trained = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    shown = model[0].weight.detach() + 1

    def show(module, state, prefix, _):
        state[f"{prefix}weight"] = shown
        state[f"{prefix}bias"] = torch.zeros(2, dtype=torch.float64)

    hook = model[0].register_state_dict_post_hook(show)
    with kept_as_shown(model):
        hook.remove()
        assert torch.equal(model[0].weight, trained["0.weight"])
    assert torch.equal(model[0].weight, shown)
    for name in trained.keys() - {"0.weight"}:
        assert torch.equal(model.get_parameter(name), trained[name])
