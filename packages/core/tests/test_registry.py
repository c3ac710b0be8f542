"""Looking names up, and importing what they stand for.

Reached from here: ``catalogue.py``, ``entry_points.py``.
"""

from __future__ import annotations

import pytest

from graftwork import (
    AmbiguousNameError,
    ContractError,
    GraftworkError,
    MissingExtraError,
    UnknownNameError,
)
from graftwork.doctor import unresolvable
from graftwork.listing import list_lines

OPTIMIZERS = """
class Complete:
    closure = None
    def step(self): ...
    def zero_grad(self): ...
    def state_dict(self): ...
    def load_state_dict(self, state): ...

class NoStep:
    def zero_grad(self): ...

class OddClosure(Complete):
    closure = "sometimes"

@hookimpl
def graftwork_components():
    for name, attribute in {"gwt-adamw": "Complete", "no-step": "NoStep", "odd-closure": "OddClosure",
                            "gone": "Missing"}.items():
        yield Component(Kind.OPTIMIZER, name, f"graftwork_one:{attribute}", "an optimizer")
    yield Component(Kind.OPTIMIZER, "nowhere", "module_that_is_nowhere:thing", "an optimizer")
"""


@pytest.fixture
def registry(add_plugin, discover):
    add_plugin("one", OPTIMIZERS)
    return discover()


def test_a_reference_finds_its_entry(registry):
    assert registry.find("optimizer/gwt-adamw") is registry.find("optimizer/one:gwt-adamw")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("optimizer/gwt-adam", "did you mean 'gwt-adamw'"),
        ("optimizer/two:gwt-adamw", "no optimizer called 'two:gwt-adamw': it is optimizer/one:gwt-adamw"),
        ("optimiser/gwt-adamw", "no such kind: 'optimiser', did you mean 'optimizer'?"),
        ("gwt-adamw", "a reference is kind/name"),
        ("model/llama", "no installed plugin registers any model; graftwork-text brings some, which is not"),
        (
            "optimizer/golore-msgd",
            "optimizer/golore-msgd comes with graftwork-optim-core, which is not installed; in a "
            "clone of Graftwork: pip install ./packages/core ./packages/optim-core",
        ),
        ("task/trainer:lm-pretrain", "task/lm-pretrain comes with graftwork-text, which is not installed"),
    ],
)
def test_an_unknown_reference_says_what_is_close(registry, reference, message):
    with pytest.raises(UnknownNameError) as caught:
        registry.find(reference)
    assert message in str(caught.value)


def test_two_claimants_stay_listed_and_need_their_full_names(add_plugin, discover):
    add_plugin("one", OPTIMIZERS)
    add_plugin("two", OPTIMIZERS.replace("graftwork_one", "graftwork_two"))
    registry = discover()
    assert len([e for e in registry.entries("optimizer") if e.component.name == "gwt-adamw"]) == 2
    with pytest.raises(AmbiguousNameError) as caught:
        registry.find("optimizer/gwt-adamw")
    assert "write optimizer/one:gwt-adamw or optimizer/two:gwt-adamw" in str(caught.value)
    assert registry.find("optimizer/two:gwt-adamw").plugin.name == "two"
    assert registry.find_in("optimizer", "optimizer/two:gwt-adamw").plugin.name == "two"
    assert "optimizer/gwt-adamw" in registry.contested()


def test_a_bare_name_of_several_is_answered_with_the_shortest_reference_of_each(add_plugin, discover):
    for name in ("one", "two"):
        add_plugin(name, OPTIMIZERS.replace("graftwork_one", f"graftwork_{name}"))
    add_plugin(
        "three",
        """
        @hookimpl
        def graftwork_components():
            yield Component(Kind.MODEL, "gwt-adamw", "builtins:dict", "a model of the same name")
        """,
    )
    with pytest.raises(AmbiguousNameError) as caught:
        discover().find_anywhere("gwt-adamw")
    references = str(caught.value).partition("write ")[2].split(" or ")
    assert sorted(references) == ["model/gwt-adamw", "optimizer/one:gwt-adamw", "optimizer/two:gwt-adamw"]


def test_a_package_of_ours_that_failed_is_not_called_absent(add_plugin, discover):
    add_plugin("text", "import module_that_is_nowhere")
    registry = discover()
    with pytest.raises(UnknownNameError, match=r"of graftwork-text 1\.0 is failed; see `graftwork doctor`"):
        registry.find("task/lm-pretrain")
    assert "'train' comes with graftwork-trainer, which is not" in registry.package_of_command("train")
    assert registry.package_of_command("nonsense") is None


def test_a_target_is_imported_only_when_resolved(registry):
    entry = registry.find("optimizer/gwt-adamw")
    assert registry.resolve(entry).__name__ == "Complete"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "nowhere",
            GraftworkError,
            "plugin 'one' of graftwork-one 1.0 cannot be imported: ModuleNotFoundError",
        ),
        ("gone", GraftworkError, "AttributeError"),
        ("no-step", ContractError, "lacks step, state_dict, load_state_dict; the contract of optimizer is"),
        ("odd-closure", ContractError, "closure must be None, 'loss' or 'gradient', got 'sometimes'"),
    ],
)
def test_a_bad_target_is_named_when_resolved(registry, name, error, message):
    with pytest.raises(error) as caught:
        registry.resolve(registry.find(f"optimizer/{name}"))
    assert message in str(caught.value)


def test_what_is_optional_and_missing_is_said_before_the_import(add_plugin, discover):
    add_plugin(
        "drawing",
        """
        from graftwork import Extra
        @hookimpl
        def graftwork_components():
            extra = Extra("graftwork-drawing[figures]", ("json", "no_such_library"))
            yield Component(Kind.REPRODUCTION, "figure", "graftwork_drawing.absent:draw", "draws",
                            extras=(extra,))
            at_times = Extra("graftwork-drawing[figures]", ("no_such_library",), when="data = 'digits'")
            yield Component(Kind.TASK, "digits", "graftwork_drawing:Digits", "classifies", extras=(at_times,))

        class Digits:
            def build_model(self): ...
            def batches(self, split, *, rank, world_size, seed): ...
            def loss(self, model, batch): ...
            def evaluate_rows(self, model, batch): ...
            def metrics(self, rows): ...
        """,
    )
    registry = discover()
    with pytest.raises(MissingExtraError) as caught:
        registry.resolve(registry.find("reproduction/figure"))
    assert str(caught.value) == (
        "reproduction/figure needs no_such_library, not installed here: "
        "pip install 'graftwork-drawing[figures]'"
    )
    assert registry.resolve(registry.find("task/digits")).__name__ == "Digits"
    listed = "\n".join(list_lines(registry.entries()))
    assert "needs graftwork-drawing[figures] for data = 'digits' (not" in listed
    assert all(isinstance(problem, MissingExtraError) for problem in unresolvable(registry))
