"""Which runs are one variant, and what it is called."""

from __future__ import annotations

import pytest

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.variants import differences


@pytest.fixture
def labels(write_run):
    """The labels of runs that differ in the given ways."""

    def of(*changes):
        return [v.label for v in group_runs(read_run(write_run(f"r{i}", **c)) for i, c in enumerate(changes))]

    return of


def optimizer(name="gwt-adamw", **options):
    return {"optimizer": {"name": name, **options}}


def test_seeds_of_one_recipe_are_one_variant_in_order_of_seeds(write_run):
    paths = [write_run(f"r{i}", seed=seed, **optimizer(o)) for i, (seed, o) in enumerate(
        [(10, "sgd"), (2, "adamw"), (9, "sgd"), (0, "adamw")]
    )]  # fmt: skip
    variants = group_runs(map(read_run, paths))
    assert [(v.label, [run.seed for run in v.runs]) for v in variants] == [
        ("sgd", [9, 10]),
        ("adamw", [0, 2]),
    ]


def test_options_that_follow_from_the_name_stay_out(labels):
    assert labels(optimizer("adamw", lr=0.003), optimizer("gwt-adamw", lr=0.01, levels=2)) == [
        "adamw",
        "gwt-adamw",
    ]


def test_options_tell_apart_only_the_variants_of_one_name(labels):
    found = labels(optimizer("adamw", lr=0.003), optimizer(lr=0.01, levels=2), optimizer(lr=0.02, levels=2))
    assert found == ["adamw", "gwt-adamw, lr=0.01", "gwt-adamw, lr=0.02"]


def test_where_only_options_differ_the_name_leads(labels):
    assert labels(optimizer(lr=0.01), optimizer(lr=1e-05)) == ["gwt-adamw, lr=0.01", "gwt-adamw, lr=1e-05"]


def test_a_difference_in_another_section_is_named_beside_the_optimizer(labels):
    found = labels(
        optimizer("adamw") | {"trainer": {"batch_size": 8}},
        optimizer("sgd") | {"trainer": {"batch_size": 16}},
    )
    assert found == ["adamw, batch_size=8", "sgd, batch_size=16"]


def test_a_model_option_is_led_by_the_model(labels):
    found = labels(
        {"extra": {"model": {"name": "llama-tiny", "depth": 2}}},
        {"extra": {"model": {"name": "llama-tiny", "depth": 4}}},
    )
    assert found == ["llama-tiny, depth=2", "llama-tiny, depth=4"]


def test_a_trainer_option_is_led_by_the_optimizer(labels):
    assert labels({"trainer": {"clip": 1.0}}, {"trainer": {"clip": 0.5}}) == [
        "adamw, clip=1.0",
        "adamw, clip=0.5",
    ]


def test_nested_tables_and_absent_keys(labels):
    found = labels(optimizer(base={"name": "sgd"}), optimizer(base={"name": "sgd", "momentum": True}))
    assert found == ["gwt-adamw, momentum=unset", "gwt-adamw, momentum=true"]


def test_two_keys_of_one_last_name_are_written_out(labels):
    found = labels(
        optimizer(first={"beta": 1}, second={"beta": 1}), optimizer(first={"beta": 2}, second={"beta": 2})
    )
    assert found[1] == "gwt-adamw, optimizer.first.beta=2, optimizer.second.beta=2"


def test_labels_that_became_equal_are_numbered(labels):
    found = labels(optimizer(path="x" * 40 + "a"), optimizer(path="x" * 40 + "b"))
    assert len(set(found)) == 2
    assert all(len(label) < 50 for label in found)


@pytest.mark.parametrize(
    "values",
    [
        (1, True),
        ("1", 1),
        (0.5, "0.5"),
        ("true", True),
        ([1], [True]),
        ({}, {"a": 1}),
        ([], {}),
        ("da/v1", "da-v1"),
        ("1e-3", 1e-3),
    ],
)
def test_values_that_are_equal_to_python_or_read_the_same_are_two_variants(labels, values):
    found = labels(*(optimizer(value=value) for value in values))
    assert len(set(found)) == 2


def test_a_whole_number_and_a_float_of_one_value_are_the_same(labels):
    assert labels(optimizer(momentum=0), optimizer(momentum=0.0)) == ["gwt-adamw"]


def test_nan_is_the_same_as_nan(write_run):
    runs = [write_run(f"r{seed}", seed=seed, **optimizer(lr=0.125)) for seed in range(2)]
    for run in runs:
        recipe = run / "recipe.toml"
        recipe.write_text(recipe.read_text().replace("0.125", "nan"))
    (variant,) = group_runs(map(read_run, runs))
    assert len(variant.runs) == 2


def test_a_number_behind_a_label_is_not_that_of_another(labels):
    values = ["x" * 40 + "a", "x" * 40 + "b", "x" * 23 + "… #1"]
    found = labels(*(optimizer(path=value) for value in values))
    assert len(set(found)) == 3


def test_a_single_variant_has_the_recipe_or_optimizer_name(labels, write_run):
    assert labels({}) == ["adamw"]
    assert [v.label for v in group_runs([read_run(write_run("x", extra={"optimizer": {"lr": 1}}))])] == [
        "lm-pretrain"
    ]
    assert [v.label for v in group_runs([read_run(write_run("y", extra={"name": "my-recipe"}))])] == [
        "my-recipe"
    ]


def test_differences_list_every_key_the_name_first(write_run):
    variants = group_runs(
        [
            read_run(write_run("a", **optimizer("sgd"))),
            read_run(write_run("b", **optimizer("adamw", betas=[0.9, 0.99]))),
        ]
    )
    assert [(d.key, d.values) for d in differences(variants)] == [
        ("optimizer.name", ("sgd", "adamw")),
        ("optimizer.betas", ("unset", "[0.9, 0.99]")),
    ]


def test_status_and_the_runs_that_count(write_run):
    done, failed = {"status": "stopped-early"}, {"status": "failed", "reason": "nan"}
    runs = [read_run(write_run(f"r{i}", seed=i, result=r)) for i, r in enumerate([done, failed, None])]
    (variant,) = group_runs(runs)
    assert (variant.status, variant.counted_runs) == ("", (runs[0],))
    (variant,) = group_runs(runs[1:])
    assert (variant.status, variant.counted_runs) == ("unfinished", tuple(runs[1:]))
    (variant,) = group_runs(runs[1:2])
    assert variant.status == "failed"
