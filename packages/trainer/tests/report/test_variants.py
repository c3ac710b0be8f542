"""Which runs are one variant, and what it is called."""

from __future__ import annotations

import pytest

from graftwork_trainer.report import group_runs, read_run


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


def test_status_and_the_runs_that_count(write_run):
    done, failed = {"status": "stopped-early"}, {"status": "failed", "reason": "nan"}
    runs = [read_run(write_run(f"r{i}", seed=i, result=r)) for i, r in enumerate([done, failed, None])]
    (variant,) = group_runs(runs)
    assert (variant.status, variant.counted_runs) == ("", (runs[0],))
    (variant,) = group_runs(runs[1:])
    assert (variant.status, variant.counted_runs) == ("unfinished", tuple(runs[1:]))
    (variant,) = group_runs(runs[1:2])
    assert variant.status == "failed"


def data(**digests):
    return {"environment": {"data": {"corpus": "texts", **digests}}}


def test_runs_of_other_data_are_another_variant_and_one_that_told_nothing_is_of_the_first(write_run):
    runs = [
        read_run(write_run(f"r{seed}", seed=seed, **told))
        for seed, told in enumerate(
            [data(corpus_sha256="aa"), data(corpus_sha256="bb"), data(corpus_sha256="aa"), {}]
        )
    ]
    assert [[run.seed for run in variant.runs] for variant in group_runs(runs)] == [[0, 2, 3], [1]]


def test_facts_that_only_a_later_version_tells_part_no_runs(write_run):
    runs = [
        read_run(write_run(f"r{seed}", seed=seed, **told))
        for seed, told in enumerate(
            [data(corpus_sha256="aa"), data(corpus_sha256="aa", test_sha256="cc", left_out=3)]
        )
    ]
    (variant,) = group_runs(runs)
    assert len(variant.runs) == 2


def test_seeds_of_any_size_have_an_order(write_run, result_of):
    paths = [
        write_run(str(place), seed=seed, result=result_of(40.0)) for place, seed in enumerate((10**400, 2))
    ]
    (variant,) = group_runs(map(read_run, paths))
    assert [run.seed for run in variant.runs] == [2, 10**400]
