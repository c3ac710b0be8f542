"""The one sentence: computed, and honest about what is not known.

Reached from here: ``report/paired.py``, ``report/rates.py``.
"""

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
        name,
        perplexity,
        state=None,
        seed=0,
        metric="validation/perplexity",
        better="lower",
        environment=None,
        steps=600,
        **options,
    ):
        result = {
            "status": "finished",
            "steps": steps,
            "metrics": {metric: perplexity},
            "optimizer_state_bytes": state,
        }
        return write_run(
            f"{name}-{seed}-{options}",
            optimizer={"name": name, **options},
            seed=seed,
            result=result,
            environment=environment,
            directions={metric: better} if better else None,
        )

    return write


def test_two_variants_with_spread(two_variants):
    sentence, qualifier = headline_of(two_variants)
    assert sentence == (
        "gwt-adamw (lr=0.01) reached validation perplexity 41.3 ± 0.3 with 25 % of adamw's optimizer memory; "
        "adamw (lr=0.003) 40.2 ± 0.2."
    )
    # 1.0, 1.1 and 1.2: the mean is 1.1, the half-width 4.303 * 0.1 / sqrt(3).
    assert qualifier == (
        "Mean ± standard deviation over 3 seeds each. Seed by seed, gwt-adamw minus adamw is "
        "+1.10 [+0.85, +1.35] (95 % interval, 3 seeds)."
    )


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


def rates(*pairs):
    return {"learning_rates": [{"rate": rate, "tensors": count} for rate, count in pairs]}


def test_both_learning_rates_are_named_and_of_one_that_has_two_both(run):
    sentence, _ = headline_of(
        [
            run("adamw", 40.0, 80, lr=2e-3, environment=rates((2e-3, 12))),
            run("gwt-adamw", 41.0, 44, lr=1e-2, environment=rates((2.5e-3, 7), (1e-2, 5))),
        ]
    )
    assert sentence == (
        "gwt-adamw (lr=0.01, 0.0025 on 7 of 12 tensors) reached validation perplexity 41.00 with 55 % of "
        "adamw's optimizer memory; adamw (lr=0.002) 40.00."
    )


def test_one_learning_rate_of_all_is_not_worth_a_word(run):
    sentence, _ = headline_of([run("adamw", 40.0, lr=2e-3), run("sgd", 41.0, lr=2e-3)])
    assert "lr" not in sentence


def test_what_is_not_ranked_stands_side_by_side_with_the_reason(run):
    sentence, qualifier = headline_of([run("adamw", 40.0, 80), run("gwt-adamw", 39.0, 20, steps=700)])
    assert sentence == "Validation perplexity: adamw 40.00; gwt-adamw 39.00."
    assert qualifier.startswith("Not ranked, because the runs differ in steps (600; 700).")


def test_many_variants_make_no_long_sentence(run, write_run):
    ended = [run("adamw", 40.0 + place, steps=600 + place, lr=place) for place in range(100)]
    broken = [write_run(f"x{place}", optimizer={"name": f"o{place}"}) for place in range(100)]
    for paths in (ended, [*ended[:2], *broken], broken):
        sentence, qualifier = headline_of(paths)
        assert len(sentence) + len(qualifier) < 700


def test_nothing_is_the_best_where_ranges_overlap(run):
    paths = [
        run(name, value + seed, state, seed)
        for name, value, state in (("adamw", 40.0, 8), ("gwt-adamw", 40.1, 2), ("sgd", 50.0, 4))
        for seed in (0, 4)
    ]
    assert "best" not in headline_of(paths)[0]


def test_seed_by_seed_an_order_may_be_settled_where_ranges_overlap(run):
    values = {"adamw": (40.0, 44.0, 48.0), "sgd": (41.0, 45.1, 49.2)}
    paths = [run(name, value, None, seed) for name in values for seed, value in enumerate(values[name])]
    _, qualifier = headline_of(paths)
    assert "Seed by seed, sgd minus adamw is +1.10 [+0.85, +1.35] (95 % interval, 3 seeds)." in qualifier
    assert "overlap" not in qualifier


@pytest.mark.parametrize(
    ("first", "second", "settled"),
    [
        # Seed by seed +2, -0.1 and +1 of 1, 2 and 3: the mean is within what so few seeds tell.
        ((1.0, 2.0, 3.0), (5.0, 2.9, 4.0), False),
        ((38.0, 39.0), (39.0, 40.5), False),
        ((38.0, 39.0), (48.0, 49.1), True),
    ],
)
def test_none_is_the_best_where_the_seeds_leave_the_order_open(run, first, second, settled):
    paths = [run("adamw", value, seed=seed) for seed, value in enumerate(first)]
    paths += [run("sgd", value, seed=seed) for seed, value in enumerate(second)]
    paths += [run("lion", 90.0 + seed, seed=seed) for seed in range(len(first))]
    sentence, qualifier = headline_of(paths)
    assert ("the best" in sentence) is settled
    assert ("order is not settled" in qualifier) is not settled
    table = build_table(group_runs(map(read_run, paths)))
    assert any(cell.best for cell in table.primary.cells) is settled


@pytest.mark.parametrize("states", [(None, None, None), (8 * MIB, 2 * MIB, 8 * MIB)])
def test_of_equals_none_is_called_the_best(run, states):
    values = zip(("adamw", "sgd", "lion"), (40.0, 40.0, 50.0), states, strict=True)
    sentence, _ = headline_of([run(name, value, state) for name, value, state in values])
    assert "best" not in sentence


def test_a_state_of_less_than_nothing_saves_nothing(run):
    sentence, _ = headline_of([run("adamw", 40.0, -5), run("sgd", 50.0, -5)])
    assert "memory" not in sentence
