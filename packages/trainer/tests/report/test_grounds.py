"""Which variants are ranked, and what is said of those that are not."""

from __future__ import annotations

import itertools

import pytest

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.grounds import why_not_ranked

FACTS = {
    "corpus": "texts",
    "corpus_sha256": "11111111aaaa",
    "vocabulary": 400,
    "train_tokens": 74_893,
    "train_tokens_sha256": "22222222aaaa",
    "tokenizer_sha256": "33333333aaaa",
    "model_sha256": "44444444aaaa",
    "prompts_sha256": "55555555aaaa",
}


@pytest.fixture
def why(write_run, result_of):
    """Why two variants are not ranked, of which the second has some facts, options and results of its own."""
    counter = itertools.count()

    def of(facts=None, result=None, **second):
        runs = []
        for name, own, ended, options in (
            ("adamw", {}, {}, {}),
            ("sgd", facts or {}, result or {}, second),
        ):
            told = {key: value for key, value in (FACTS | own).items() if value is not None}
            path = write_run(
                f"{name}-{next(counter)}",
                optimizer={"name": name},
                environment={"data": told},
                result=result_of(40.0, **{"units": 600_000, **ended}),
                **options,
            )
            runs.append(read_run(path))
        return why_not_ranked(group_runs(runs))

    return of


def test_the_same_grounds_need_no_word(why):
    assert why() == ""


@pytest.mark.parametrize(
    ("difference", "told"),
    [
        ({"facts": {"corpus": "more", "corpus_sha256": "99999999bbbb"}}, "data (texts; more)"),
        (
            {"facts": {"corpus_sha256": "99999999bbbb"}},
            "data (texts: corpus 11111111; texts: corpus 99999999)",
        ),
        (
            {"facts": {"train_tokens_sha256": "99999999bbbb"}},
            "data (texts: train tokens 22222222; texts:",
        ),
        ({"facts": {"vocabulary": 8000, "train_tokens_sha256": "99"}}, "vocabulary (400; 8000)."),
        ({"facts": {"tokenizer_sha256": "99999999bbbb"}}, "vocabulary (33333333; 99999999)."),
        ({"facts": {"model_sha256": "99999999bbbb"}}, "model (44444444; 99999999)."),
        ({"result": {"parameters": 2e6}}, "model (1,836,672 parameters; 2,000,000 parameters)."),
        ({"extra": {"model": {"name": "llama-small"}}}, "model (llama-tiny; llama-small)."),
        ({"extra": {"task": {"name": "sorting"}}}, "task (lm-pretrain; sorting)."),
        ({"result": {"steps": 6, "units": 6_000}}, "steps (600; 6)."),
        ({"result": {"units": 1_200_000}}, "tokens (1000 a step; 2000 a step)."),
        ({"trainer": {"minutes": 5}}, "minutes (none; 5)."),
    ],
)
def test_what_differs_is_named_and_nothing_else(why, difference, told):
    found = why(**difference)
    assert found.startswith(f"Not ranked, because the runs differ in {told}")


def test_all_that_differs_is_one_sentence(why):
    found = why({"vocabulary": 8000}, {"steps": 6, "units": 6000}, extra={"model": {"name": "llama-small"}})
    assert found == (
        "Not ranked, because the runs differ in vocabulary (400; 8000), model (llama-tiny; llama-small) and "
        "steps (600; 6)."
    )


@pytest.mark.parametrize(
    "difference",
    [
        {"facts": {"prompts_sha256": "99"}},  # asked in other words about the same
        {"facts": {"left_out": 3, "train_tokens": 1}},  # sizes follow from digests
        {"result": {"units": 600_900}},  # padding, or the last batch of an epoch
        {"result": {"status": "stopped-early", "steps": 300, "units": 300_000, "best_step": 200}},
        {"trainer": {"clip": 1.0, "warmup_steps": 3}},
    ],
)
def test_what_makes_no_other_grounds(why, difference):
    assert why(**difference) == ""


def test_equal_minutes_are_an_equal_length(why, write_run, result_of):
    runs = [
        read_run(
            write_run(
                name, optimizer={"name": name}, trainer={"minutes": 5}, result=result_of(40.0, steps=steps)
            )
        )
        for name, steps in (("adamw", 100), ("sgd", 200))
    ]
    assert why_not_ranked(group_runs(runs)) == ""


def test_facts_without_digests_are_all_there_is(why):
    bare = dict.fromkeys(FACTS)
    assert why(bare | {"rows": 3}) == ""  # nothing that both say


@pytest.mark.parametrize(("rows", "told"), [((3, 3), ""), ((3, 4), "data (data: rows 3; data: rows 4).")])
def test_facts_of_another_task_are_compared_as_they_are(write_run, rows, told):
    runs = [
        read_run(write_run(f"r{i}", optimizer={"name": name}, environment={"data": {"rows": count}}))
        for i, (name, count) in enumerate(zip(("adamw", "sgd"), rows, strict=True))
    ]
    assert why_not_ranked(group_runs(runs)).endswith(told)
    assert bool(told) == bool(why_not_ranked(group_runs(runs)))


def test_another_part_to_evaluate_on_is_another_ground(write_run):
    runs = [
        read_run(write_run(f"r{count}", extra={"task": {"name": "lm-pretrain", "evaluation_tokens": count}}))
        for count in (512, 4096)
    ]
    assert why_not_ranked(group_runs(runs)).endswith(
        "what is evaluated (task.evaluation_tokens = 512; task.evaluation_tokens = 4096)."
    )


def test_a_task_that_tells_no_facts_is_judged_by_where_its_data_lie(write_run):
    runs = [
        read_run(write_run(f"r{path}", extra={"task": {"name": "mine", "data": path}})) for path in ("a", "b")
    ]
    assert "differ in data (a; b)." in why_not_ranked(group_runs(runs))


def test_what_is_not_in_the_ranking_does_not_hinder_it(why, write_run, result_of):
    runs = [
        read_run(write_run(name, optimizer={"name": name}, result=result_of(40.0)))
        for name in ("adamw", "sgd")
    ]
    failed = read_run(write_run("lion", optimizer={"name": "lion"}, result={"status": "failed", "steps": 7}))
    assert why_not_ranked(group_runs([*runs, failed])) == ""


def test_many_values_are_counted(write_run, result_of):
    runs = [
        read_run(write_run(f"r{steps}", trainer={"steps": steps}, result=result_of(40.0, steps=steps)))
        for steps in (10, 20, 30, 40, 50)
    ]
    assert why_not_ranked(group_runs(runs)).endswith("steps (10; 20; 30; 2 more).")


def test_one_variant_is_never_unranked(write_run, result_of):
    assert why_not_ranked(group_runs([read_run(write_run("r", result=result_of(40.0)))])) == ""


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({"environment": {"data": FACTS}}, {"environment": {"data": FACTS | {"corpus_sha256": "9"}}}, "data"),
        ({"units": 600_000}, {"units": 1_200_000}, "tokens"),
    ],
)
def test_a_run_that_tells_less_hides_no_difference_of_others(write_run, result_of, first, second, told):
    runs = []
    for name, own in (("adamw", first), ("sgd", second), ("lion", {})):
        result = result_of(40.0, **({"units": own["units"]} if "units" in own else {}))
        path = write_run(name, optimizer={"name": name}, environment=own.get("environment"), result=result)
        runs.append(read_run(path))
    assert told in why_not_ranked(group_runs(runs))


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("vocabulary_size", "vocabulary (8; 1600)"),
        ("batch_size", "size of a batch (8; 1600)"),
        ("sequence_length", "sequence length of a batch (8; 1600)"),
    ],
)
def test_where_a_run_tells_nothing_its_recipe_does(write_run, result_of, option, told):
    paths = [
        write_run(
            name,
            optimizer={"name": name},
            extra={"task": {"name": "lm-pretrain", option: value}},
            result=result_of(40.0),
        )
        for name, value in (("adamw", 8), ("sgd", 1600))
    ]
    assert why_not_ranked(group_runs(map(read_run, paths))).endswith(f"differ in {told}.")
