"""The rows of the table, against arithmetic done by hand.

Reached from here: ``report/measures.py``, ``report/metrics.py``.
"""

from __future__ import annotations

import math
import statistics

import pytest

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.aggregate import Summary
from graftwork_trainer.report.numerals import BYTES, mean_and_deviation, unit_for
from graftwork_trainer.report.table import build_table

ACCURACY = {"validation/accuracy": "higher"}


def table_of(paths):
    return build_table(group_runs(map(read_run, paths)))


def texts(table, key):
    row = table.row(key)
    assert row is not None
    return [cell.text for cell in row.cells]


def best(table, key):
    row = table.row(key)
    assert row is not None
    return [cell.best for cell in row.cells]


def finished(**changes):
    return {"status": "finished", "steps": 10, "metrics": {}} | changes


def test_means_deviations_and_units(two_variants):
    table = table_of(two_variants)
    assert table.labels == ("adamw", "gwt-adamw")
    assert table.progress == ("3 seeds", "3 seeds")
    assert statistics.stdev([40.0, 40.2, 40.4]) == pytest.approx(0.2)
    assert statistics.stdev([41.0, 41.3, 41.6]) == pytest.approx(0.3)
    assert texts(table, "validation/perplexity") == ["40.2 ± 0.2", "41.3 ± 0.3"]
    assert texts(table, "optimizer_state_bytes") == ["8.000", "2.000"]
    state = table.row("optimizer_state_bytes")
    assert state is not None
    assert state.heading == "optimizer state, MiB"
    assert [cell.share for cell in state.cells] == [1.0, 0.25]
    assert texts(table, "step_seconds") == ["80.00 ± 0", "80.00 ± 0"]
    assert table.row("step_seconds").unit == "ms"  # type: ignore[union-attr]
    assert table.row("units_per_second").unit == "tokens/s"  # type: ignore[union-attr]


def test_best_is_marked_by_direction_and_not_where_all_read_the_same(two_variants):
    table = table_of(two_variants)
    assert best(table, "validation/perplexity") == [True, False]
    assert best(table, "optimizer_state_bytes") == [False, True]
    assert best(table, "peak_memory_bytes") == [False, False]


def test_the_run_says_that_accuracy_is_better_higher_and_of_sharpness_nothing(write_run):
    for name, accuracy in (("adamw", 0.8), ("sgd", 0.9)):
        metrics = {"validation/accuracy": accuracy, "validation/sharpness": accuracy}
        write_run(name, optimizer={"name": name}, result=finished(metrics=metrics), directions=ACCURACY)
    folder = write_run(
        "sgd-2",
        optimizer={"name": "sgd"},
        seed=1,
        result=finished(metrics={"validation/accuracy": 0.9}),
        directions=ACCURACY,
    )
    table = table_of([folder.parent / name for name in ("adamw", "sgd", "sgd-2")])
    assert best(table, "validation/accuracy") == [False, True]
    assert best(table, "validation/sharpness") == [False, False]
    assert texts(table, "validation/accuracy") == ["0.8000", "0.9000 ± 0"]


@pytest.mark.parametrize("metric", ["f1_loss", "worst_agent_mse", "accuracy", "items_per_second"])
@pytest.mark.parametrize("said", ["lower", "higher", None])
def test_a_metrics_name_is_no_direction(write_run, metric, said):
    name = f"validation/{metric}"
    directions = {name: said} if said else {}
    paths = [
        write_run(
            f"r{i}",
            optimizer={"name": optimizer},
            result=finished(metrics={name: value}),
            directions=directions,
        )
        for i, (optimizer, value) in enumerate([("adamw", 1.0), ("sgd", 2.0)])
    ]
    table = table_of(paths)
    row = table.row(name)
    assert row is not None
    assert row.better == said
    assert best(table, name) == [said == "lower", said == "higher"]


def test_the_order_of_importance_is_the_runs_and_one_group_stays_together(write_run):
    directions = {"validation/zeta": "lower", "test/zeta": "lower", "validation/alpha": "higher"}
    names = [
        "validation/alpha",
        "validation/unknown",
        "other/x",
        "test/zeta",
        "validation/zeta",
        "train/loss",
    ]
    path = write_run("r", result=finished(metrics=dict.fromkeys(names, 1.0)), directions=directions)
    table = table_of([path])
    assert [row.key for row in table.rows] == [
        "validation/zeta",
        "validation/alpha",
        "validation/unknown",
        "test/zeta",
        "other/x",
    ]
    assert table.primary is table.rows[0]


def test_training_metrics_need_a_direction_or_are_all_there_is(write_run):
    measured = finished(metrics={"validation/loss": 3.0, "train/loss": 2.0, "train/learning_rate": 0.1})
    table = table_of([write_run("said", result=measured)])
    assert [row.key for row in table.rows] == ["validation/loss", "train/loss"]
    only = write_run("old", metrics=[{"step": 1, "train/loss": 2.0}], directions=None)
    assert [row.key for row in table_of([only]).rows] == ["train/loss"]


def test_runs_without_an_end_count_only_while_there_is_no_other(write_run):
    done = write_run("done", result=finished(metrics={"validation/loss": 4.0}))
    failed = write_run("failed", seed=1, result=finished(status="failed", metrics={"validation/loss": 400.0}))
    lines = [{"step": 1, "validation/loss": 6.0}, {"step": 2, "validation/loss": 5.0}]
    running = write_run("running", optimizer={"name": "sgd"}, metrics=lines)
    table = table_of([done, failed, running])
    assert table.progress == ("1 of 2 seeds", "unfinished")
    assert texts(table, "validation/loss") == ["4.000", "5.000"]
    row = table.row("validation/loss")
    assert row is not None
    assert [cell.final for cell in row.cells] == [True, False]
    assert best(table, "validation/loss") == [False, False]
    assert table_of([failed]).progress == ("failed",)


def test_what_was_not_measured_is_a_dash_and_an_empty_row_is_left_out(write_run):
    a = write_run("a", result=finished(peak_memory_bytes=1024))
    b = write_run("b", optimizer={"name": "sgd"}, result=finished())
    table = table_of([a, b])
    assert texts(table, "peak_memory_bytes") == ["1.000", "-"]
    assert table.row("step_seconds") is None
    assert table.primary is None


def test_a_diverged_variant_is_never_the_best(write_run):
    text = '{"step": 1, "validation/loss": NaN}\n'
    a = write_run("a", metrics=text, result=finished())
    b = write_run("b", optimizer={"name": "sgd"}, result=finished(metrics={"validation/loss": 9.0}))
    c = write_run("c", optimizer={"name": "lion"}, result=finished(metrics={"validation/loss": 8.0}))
    table = table_of([a, b, c])
    assert texts(table, "validation/loss") == ["not finite", "9.000", "8.000"]
    assert best(table, "validation/loss") == [False, False, True]


def test_parameters_are_a_row_only_where_they_differ(two_variants, write_run):
    assert table_of(two_variants).row("parameters") is None
    larger = write_run("larger", optimizer={"name": "sgd"}, result=finished(parameters=2e6))
    assert texts(table_of([*two_variants, larger]), "parameters") == ["1,836,672", "1,836,672", "2,000,000"]


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        (4012.0, 213.0, "4,012 ± 213"),
        (1.2345678, 0.0123, "1.23 ± 0.01"),
        (41.2, 1e-9, "41.200 ± 0"),
        (1.5e-7, 2e-8, "1.5e-07 ± 2e-08"),
        (0.0, 0.25, "0.0 ± 0.2"),
        (math.nan, None, "not finite"),
    ],
)
def test_digits_follow_the_deviation(mean, deviation, text):
    assert mean_and_deviation(Summary(mean, deviation, mean, mean, 2)) == text


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([5 * 1024**2, 6 * 1024**3], "MiB"),
        ([1024**3 / 2, 1024**3], "GiB"),
        ([0, 10], "B"),
        ([0, 2048], "KiB"),
        ([], "B"),
    ],
)
def test_a_row_has_one_unit_that_suits_all(values, unit):
    assert unit_for(values, BYTES)[1] == unit


def of_seeds(write_run, values, **more):
    """Runs of one perplexity for each variant and seed."""
    return [
        write_run(
            f"{name}-{seed}",
            optimizer={"name": name},
            seed=seed,
            result=finished(metrics={"validation/perplexity": value}, **more),
        )
        for name, of_seed in values.items()
        for seed, value in of_seed.items()
    ]


def test_differences_are_between_runs_of_one_seed_with_students_interval(write_run):
    paths = of_seeds(write_run, {"adamw": {0: 40.0, 1: 50.0, 2: 60.0}, "sgd": {1: 51.0, 2: 61.2, 3: 1.0}})
    table = table_of(paths)
    row = table.rows[1]
    assert row is table.paired_with(table.rows[0])
    # 1.0 and 1.2, of the seeds 1 and 2: t is 12.706 for one degree of freedom.
    half = 12.7062 * statistics.stdev([1.0, 1.2]) / math.sqrt(2)
    (nothing, found) = row.paired
    assert nothing is None
    assert found is not None
    assert (found.mean, found.low, found.high, found.count) == pytest.approx(
        (1.1, 1.1 - half, 1.1 + half, 2), rel=1e-4
    )
    assert row.title == "minus adamw (2 seeds)"
    assert [cell.text for cell in row.cells] == ["-", "+1.1 [-0.2, +2.4]"]
    assert "95 % interval" in table.paired_note


@pytest.mark.parametrize(
    "values",
    [
        {"adamw": {0: 40.0, 1: 41.0}},
        {"adamw": {0: 40.0}, "sgd": {0: 41.0}},
        {"adamw": {0: 40.0, 1: 41.0}, "sgd": {1: 41.0, 2: 42.0}},
    ],
)
def test_without_two_seeds_in_common_there_is_no_difference(write_run, values):
    table = table_of(of_seeds(write_run, values))
    assert not any(row.paired for row in table.rows)
    assert table.paired_note == ""


def test_variants_with_other_numbers_of_seeds_in_common_say_so_each(write_run):
    paths = of_seeds(
        write_run,
        {"adamw": {0: 1.0, 1: 1.0, 2: 1.0}, "sgd": {0: 2.0, 1: 2.0, 2: 2.0}, "lion": {0: 3.0, 1: 3.0}},
    )
    row = table_of(paths).rows[1]
    assert row.title == "minus adamw"
    assert [cell.text for cell in row.cells] == [
        "-", "+1.000 [+1.000, +1.000], 3 seeds", "+2.000 [+2.000, +2.000], 2 seeds",
    ]  # fmt: skip


def timed(middle, low, high):
    return {"step_seconds": {"median": middle, "p10": low, "p90": high}, "units_per_second": 1 / middle}


@pytest.mark.parametrize(
    ("other", "marked"), [((2.0, 1.8, 2.2), True), ((1.2, 1.05, 1.3), False), ((1.2, 1.1, 1.3), False)]
)
def test_no_time_is_the_best_where_its_middle_overlaps_with_anothers(write_run, other, marked):
    paths = [
        write_run(name, optimizer={"name": name}, result=finished(**timed(*times)))
        for name, times in (("adamw", (1.0, 0.9, 1.1)), ("sgd", other))
    ]
    table = table_of(paths)
    for key in ("step_seconds", "units_per_second"):
        assert best(table, key) == [marked, False]


@pytest.mark.parametrize(("seeds", "marked"), [(1, False), (2, True)])
def test_the_wall_time_of_one_seed_is_never_the_best(write_run, seeds, marked):
    paths = [
        write_run(
            f"{name}-{seed}", optimizer={"name": name}, seed=seed, result=finished(wall_seconds=wall + seed)
        )
        for name, wall in (("adamw", 10.0), ("sgd", 20.0))
        for seed in range(seeds)
    ]
    assert best(table_of(paths), "wall_seconds") == [marked, False]


@pytest.mark.parametrize(("value", "marked"), [(40.7, False), (41.1, True)])
def test_no_metric_is_the_best_where_ranges_over_seeds_overlap(write_run, value, marked):
    # From the 10th to the 90th percentile adamw's range is 40.1 to 40.9.
    paths = of_seeds(write_run, {"adamw": {0: 40.0, 1: 41.0}, "sgd": {0: value, 1: value + 1}})
    assert best(table_of(paths), "validation/perplexity") == [marked, False]


def test_of_runs_without_common_ground_none_is_the_best_and_none_is_subtracted(write_run, result_of):
    paths = [
        write_run(f"{name}-{seed}", optimizer={"name": name}, seed=seed, result=result_of(value, steps=steps))
        for name, value, steps in (("adamw", 40.0, 600), ("sgd", 50.0, 700))
        for seed in range(2)
    ]
    table = table_of(paths)
    assert table.not_ranked == "Not ranked, because the runs differ in steps (600; 700)."
    assert not any(cell.best for row in table.rows for cell in row.cells)
    assert not any(row.paired for row in table.rows)


def test_training_stands_beside_validation(write_run, result_of, lines_of):
    table = table_of([write_run("r", metrics=lines_of(40.0), result=result_of(40.0))])
    assert [(row.section, row.title) for row in table.rows][:3] == [
        ("validation", "perplexity"),
        ("validation", "loss"),
        ("train", "loss"),
    ]
    assert texts(table, "train/loss") == ["4.167"]


def test_of_a_run_that_stopped_early_training_is_told_of_its_best_step(write_run, result_of, lines_of):
    early = result_of(40.0, status="stopped-early", best_step=300)
    table = table_of([write_run("r", metrics=lines_of(40.0), result=early)])
    assert texts(table, "train/loss") == ["4.333"]


def test_agents_distance_and_traffic_are_rows(write_run, result_of):
    sent = {"consensus_distance": 0.25, "bytes_sent": 3 * 1024**2, "rounds": 6, "messages_sent": 96}
    ended = write_run("ended", result=result_of(40.0, communication=sent))
    lines = [{"step": 1, "train/consensus_distance": 0.5, "train/bytes_sent": 1024**2, "train/rounds": 3}]
    running = write_run("running", optimizer={"name": "sgd"}, metrics=lines)
    table = table_of([ended, running])
    assert [row.key for row in table.rows if row.section == "communication"] == [
        "consensus_distance",
        "bytes_sent",
    ]
    assert texts(table, "consensus_distance") == ["0.2500", "0.5000"]
    assert texts(table, "bytes_sent") == ["3.000", "1.000"]
    assert table.rows[0] is table.primary
    assert table.row("bytes_sent").heading == "sent by all agents, MiB"  # type: ignore[union-attr]


def test_one_variant_has_no_bars(write_run, result_of):
    table = table_of([write_run("r", result=result_of(40.0))])
    assert not any(cell.share for row in table.rows for cell in row.cells)
