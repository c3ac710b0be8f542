"""What would end a variant's training is told before the first variant trains."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graftwork import GraftworkError, build_recipe, parse_set
from graftwork.resolution import Resolved
from graftwork_trainer.commands.variant_checks import check_variants

RECIPE = {"task": {"name": "regression"}, "optimizer": {"name": "adamw"}}


def resolved(variant: str) -> Resolved:
    """The toy recipe with the settings that stand in a text."""
    return build_recipe(RECIPE, overrides=[parse_set(setting) for setting in variant.split()]).resolve()


@pytest.fixture
def check(toy: None) -> Callable[..., None]:
    """Check variants of the toy recipe, each given as its settings."""
    return lambda *variants: check_variants({text: [resolved(text)] for text in variants}, processes=1)


@pytest.fixture
def task_class(toy: None):
    """The class of the toy task."""
    return resolved("task.dropout=0.0").task.target


def test_data_that_are_missing_are_told_with_the_variant(check):
    with pytest.raises(GraftworkError, match=r"^task.missing_file=/no/such: /no/such: No such file") as told:
        check("task.dropout=0.1", "task.missing_file=/no/such")
    assert "\n" not in str(told.value)


def test_what_an_optimizer_refuses_is_told_with_the_variant(check):
    with pytest.raises(GraftworkError, match=r"^optimizer.lr=-1: optimizer/adamw: Invalid learning rate"):
        check("optimizer.lr=1", "optimizer.lr=-1")


def test_all_that_is_wrong_is_told_each_cause_once(check):
    with pytest.raises(GraftworkError) as told:
        check("optimizer.lr=1", "optimizer.lr=-1", "optimizer.lr=-1 trainer.log_every=2", "trainer.steps=-1")
    first, *lines = str(told.value).splitlines()
    assert first == "3 of 4 variants cannot be trained"
    assert lines[0].startswith("  optimizer.lr=-1 (and 1 more): optimizer/adamw: ")
    assert lines[1].startswith("  trainer.steps=-1: trainer/standard: steps must be at least")


def test_what_is_wrong_with_all_is_said_without_a_variant(check):
    with pytest.raises(GraftworkError, match=r"^/no/such: No such file"):
        check(*(f"task.missing_file=/no/such optimizer.lr={lr}" for lr in (1, 2)))


def test_every_seed_is_in_range(toy):
    seeds = [resolved("optimizer.lr=1"), resolved("trainer.seed=-1")]
    with pytest.raises(GraftworkError, match="seed must be in"):
        check_variants({"seeds": seeds}, processes=1)


def test_data_are_opened_once_for_each_task(check, task_class, monkeypatch):
    opened = []
    batches = task_class.batches

    def counted(task, split, **arguments):
        opened.append(task)
        return batches(task, split, **arguments)

    monkeypatch.setattr(task_class, "batches", counted)
    check("optimizer.lr=1", "task.dropout=0.1", "optimizer.lr=2", "task.dropout=0.1 optimizer.lr=3")
    assert len(opened) == 2


@pytest.mark.parametrize("end", [SystemExit("no licence"), ValueError("no licence")])
def test_a_task_that_ends_the_process_ends_no_comparison(check, task_class, monkeypatch, end):
    def leave(task, split, **arguments):
        raise end

    monkeypatch.setattr(task_class, "batches", leave)
    with pytest.raises(GraftworkError, match=f"{type(end).__name__}: no licence"):
        check("optimizer.lr=1")


@pytest.mark.parametrize("error", [NotImplementedError, RuntimeError])
def test_a_model_that_looks_at_numbers_is_left_to_training(check, task_class, monkeypatch, error):
    looked = []

    def look(task):
        looked.append(task)
        raise error("aten::item on meta")

    monkeypatch.setattr(task_class, "build_model", look)
    check("optimizer.lr=1")
    assert looked


def test_what_is_wrong_with_a_stage_is_told_with_its_name(toy):
    stages = [{"name": "general"}, {"name": "mine", "task": {"missing_file": "/nowhere/texts"}}]
    recipe = build_recipe({**RECIPE, "stages": stages}).resolve()
    with pytest.raises(GraftworkError, match=r"^adamw, stage 'mine': /nowhere/texts: No such file"):
        check_variants({"adamw": [recipe]}, processes=1)
