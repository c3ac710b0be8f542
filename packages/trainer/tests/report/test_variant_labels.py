"""What variants are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.variant_labels import LONGEST_LABEL


@pytest.fixture
def labels(write_run):
    """The labels of runs that differ in the given ways."""

    def of(*changes):
        return [v.label for v in group_runs(read_run(write_run(f"r{i}", **c)) for i, c in enumerate(changes))]

    return of


def optimizer(name="gwt-adamw", **options):
    return {"optimizer": {"name": name, **options}}


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
    assert found[1] == "gwt-adamw, first.beta=2, second.beta=2"


def test_labels_that_became_equal_are_numbered(labels):
    found = labels(optimizer(path="x" * 40 + "a"), optimizer(path="x" * 40 + "b"))
    assert len(set(found)) == 2
    assert all(len(label) < 50 for label in found)


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


def wordy(count):
    """Recipes of many differing keys."""
    return [
        {"optimizer": {"name": "gwt-adamw", **{f"option_{key}": number + key for key in range(5)}}}
        for number in range(count)
    ]


def test_many_differing_keys_have_the_directorys_name_and_say_what_it_stands_for(write_run):
    runs = [
        read_run(write_run(f"{name}-seed{seed}", seed=seed, **change))
        for name, change in zip(("wide", "narrow"), wordy(2), strict=True)
        for seed in range(2)
    ]
    variants = group_runs(runs)
    assert [variant.label for variant in variants] == ["wide", "narrow"]
    assert variants[1].meaning == ("gwt-adamw, option_0=1, option_1=2, option_2=3, option_3=4, option_4=5")


@pytest.mark.parametrize(
    "directory", ["lm-pretrain-20260101-12000{}", "a" * LONGEST_LABEL + "{}", "wide-seed{}"]
)
def test_where_directories_say_nothing_letters_do(write_run, directory):
    variants = group_runs(
        read_run(write_run(directory.format(place), **change)) for place, change in enumerate(wordy(3))
    )
    assert [variant.label for variant in variants] == ["A", "B", "C"]
    assert all(variant.meaning.startswith("gwt-adamw, option_0=") for variant in variants)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_no_label_is_long(labels, count):
    found = labels(
        *({"extra": {"name": f"{'x' * 60}{number}"}, **one} for number, one in enumerate(wordy(count)))
    )
    assert len(set(found)) == count
    assert all(len(label) <= LONGEST_LABEL for label in found)


def test_the_learning_rate_stands_first(labels):
    found = labels(optimizer(betas=1, lr=0.1), optimizer(betas=2, lr=0.2))
    assert found == ["gwt-adamw, lr=0.1, betas=1", "gwt-adamw, lr=0.2, betas=2"]


def test_what_only_another_has_goes_without_saying(labels):
    found = labels(optimizer(lr=0.1), optimizer(lr=0.2, level=3))
    assert found == ["gwt-adamw, lr=0.1", "gwt-adamw, lr=0.2, level=3"]


def test_runs_of_one_recipe_and_other_data_have_their_directories_names(write_run):
    paths = [
        write_run(f"{name}-seed0", environment={"data": {"corpus": "texts", "corpus_sha256": digest}})
        for name, digest in (("old", "1" * 64), ("new", "2" * 64))
    ]
    assert [variant.label for variant in group_runs(map(read_run, paths))] == ["old", "new"]


@pytest.mark.parametrize("count", [1, 2])
def test_of_an_empty_recipe_the_directory_is_the_name(write_run, count, monkeypatch):
    runs = [write_run(f"run-{number}") for number in range(count)]
    for number, run in enumerate(runs):
        (run / "recipe.toml").write_text("")
        (run / "environment.json").write_text(json.dumps({"data": {"train_sha256": str(number)}}))
    assert [v.label for v in group_runs(map(read_run, runs))] == [run.name for run in runs]
    monkeypatch.chdir(runs[0])
    assert [v.label for v in group_runs([read_run(Path())])] == ["run-0"]


def test_what_nobody_would_see_in_a_name_is_escaped(labels, write_run):
    assert labels(optimizer("a\u202eb")) == ["a\\u202eb"]
    run = write_run("c\nd")
    (run / "recipe.toml").write_text("")
    assert [v.label for v in group_runs([read_run(run)])] == ["c\\nd"]
