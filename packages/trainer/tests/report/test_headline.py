"""The one sentence: computed, and honest about what is not known."""

from __future__ import annotations

import pytest

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.headline import write_headline
from graftwork_trainer.report.table import build_table

MIB = 1024**2


def headline_of(paths):
    variants = group_runs(map(read_run, paths))
    found = write_headline(variants, build_table(variants))
    return found.sentence.replace("\u00a0", " ").replace("\u2019", "'"), found.qualifier


@pytest.fixture
def run(write_run):
    def write(
        name, perplexity, state=None, seed=0, metric="validation/perplexity", better="lower", **options
    ):
        result = {
            "status": "finished",
            "steps": 600,
            "metrics": {metric: perplexity},
            "optimizer_state_bytes": state,
        }
        return write_run(
            f"{name}-{seed}-{options}",
            optimizer={"name": name, **options},
            seed=seed,
            result=result,
            directions={metric: better} if better else None,
        )

    return write


def test_two_variants_with_spread(two_variants):
    sentence, qualifier = headline_of(two_variants)
    assert sentence == (
        "gwt-adamw reached validation perplexity 41.3 ± 0.3 with 25 % of adamw's optimizer memory; "
        "adamw 40.2 ± 0.2."
    )
    assert qualifier == "Mean ± standard deviation over 3 seeds each."


def test_one_seed_has_no_spread(run):
    sentence, qualifier = headline_of([run("adamw", 40.1, 100 * MIB), run("gwt-adamw", 41.2, 43 * MIB)])
    assert (
        sentence
        == "gwt-adamw reached validation perplexity 41.20 with 43 % of adamw's optimizer memory; adamw 40.10."
    )
    assert "±" not in sentence
    assert qualifier == "One seed each: the spread over seeds is not known."


def test_a_single_variant(run):
    assert headline_of([run("adamw", 40.1)]) == (
        "adamw reached validation perplexity 40.10 after 600 steps.",
        "One seed: the spread over seeds is not known.",
    )


def test_overlapping_ranges_are_called_so(run):
    paths = [
        run("adamw", 40.0, 8),
        run("adamw", 42.0, 8, 1),
        run("gwt-adamw", 41.0, 2),
        run("gwt-adamw", 43.0, 2, 1),
    ]
    _, qualifier = headline_of(paths)
    assert "The ranges of gwt-adamw and adamw overlap, so their order is not settled." in qualifier


def test_ranges_that_do_not_overlap_are_not(two_variants, run):
    assert "overlap" not in headline_of(two_variants)[1]
    paths = [
        run("adamw", 42.0, 8),
        run("adamw", 43.0, 8, 1),
        run("gwt-adamw", 40.0, 2),
        run("gwt-adamw", 41.0, 2, 1),
    ]
    assert "overlap" not in headline_of(paths)[1]


def test_thriftiest_and_best_in_one(run):
    sentence, _ = headline_of([run("adamw", 42.0, 80), run("gwt-adamw", 40.0, 20), run("sgdm", 50.0, 40)])
    assert sentence == (
        "gwt-adamw reached the best validation perplexity, 40.00 with 25 % of adamw's optimizer memory; "
        "adamw 42.00."
    )


def test_the_best_of_many_is_named_beside_the_thriftiest(run):
    sentence, _ = headline_of([run("adamw", 40.0, 80), run("gwt-adamw", 42.0, 20), run("sgdm", 50.0, 40)])
    assert sentence == (
        "gwt-adamw reached validation perplexity 42.00 with 25 % of adamw's optimizer memory; "
        "adamw, the best of 3, 40.00."
    )


def test_without_a_saving_the_best_two_are_compared(run):
    sentence, _ = headline_of([run("adamw", 42.0, 80, lr=0.1), run("adamw", 40.0, 80, lr=0.2)])
    assert sentence == "adamw (lr=0.2) reached validation perplexity 40.00; adamw (lr=0.1) 42.00."


def test_no_state_at_all(run):
    sentence, _ = headline_of([run("adamw", 40.0, 80), run("lozo", 60.0, 0)])
    assert sentence == "lozo reached validation perplexity 60.00 without any optimizer memory; adamw 40.00."


def test_higher_accuracy_wins(run):
    a, b = (
        run(name, accuracy, metric="test/accuracy", better="higher")
        for name, accuracy in (("adamw", 0.8), ("sgd", 0.9))
    )
    assert headline_of([a, b])[0] == "sgd reached test accuracy 0.9000; adamw 0.8000."


def test_failed_and_unfinished_variants_are_not_ranked(run, write_run):
    lines = [{"step": 7, "validation/perplexity": 20.0}]
    failed = write_run(
        "failed", optimizer={"name": "lozo"}, metrics=lines, result={"status": "failed", "steps": 7}
    )
    sentence, qualifier = headline_of([run("adamw", 40.0), failed])
    assert sentence == "adamw reached validation perplexity 40.00 after 600 steps."
    assert "lozo failed after 7 steps: last validation perplexity 20.00." in qualifier
    running = write_run("running", metrics=lines)
    assert (
        headline_of([running])[0] == "adamw is unfinished after 7 steps: validation perplexity 20.00 so far."
    )


def test_diverged_and_empty_runs(run, write_run):
    text = '{"step": 600, "validation/perplexity": Infinity}\n'
    diverged = write_run(
        "d", optimizer={"name": "sgd"}, metrics=text, result={"status": "finished", "steps": 600}
    )
    _, qualifier = headline_of([run("adamw", 40.0), diverged])
    assert "sgd finished after 600 steps, diverged: its validation perplexity is not finite." in qualifier
    assert headline_of([write_run("new")])[0] == "adamw: no metric has been recorded yet."


def test_where_no_direction_is_known_nothing_is_the_best(run):
    a, b, c = (
        run(name, value, 8, better=None) for name, value in (("adamw", 42.0), ("sgd", 40.0), ("lion", 41.0))
    )
    assert headline_of([a, b, c])[0] == "adamw reached validation perplexity 42.00; sgd 40.00."
    thrifty = run("gwt-adamw", 43.0, 2, better=None)
    sentence, _ = headline_of([a, b, c, thrifty])
    assert sentence == (
        "gwt-adamw reached validation perplexity 43.00 with 25 % of adamw's optimizer memory; adamw 42.00."
    )


def test_where_no_direction_is_known_there_is_no_order_to_settle(run):
    paths = [run(name, 40.0 + seed, 8, seed, better=None) for name in ("adamw", "sgd") for seed in (0, 1)]
    assert "overlap" not in headline_of(paths)[1]
