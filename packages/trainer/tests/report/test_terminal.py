"""The table in the terminal: the page's numbers, within the width, readable without colour."""

from __future__ import annotations

import io

import pytest

from graftwork_trainer.report import group_runs, print_table, read_run
from graftwork_trainer.report.table import build_table


def rendered(runs, width=80):
    file = io.StringIO()
    print_table(runs, file, width)
    return file.getvalue()


@pytest.fixture
def sweep(write_run, result_for):
    """As many variants as asked for, three seeds each."""

    def of(count):
        names = ["adamw", "gwt-adamw", "golore-adamw", "nsgdc", "lozo-m", "sgd"][:count]
        return [
            read_run(
                write_run(f"{name}-{seed}", optimizer={"name": name}, seed=seed, result=result_for(i, seed))
            )
            for i, name in enumerate(names)
            for seed in range(3)
        ]

    return of


@pytest.fixture
def result_for():
    def make(index, seed):
        return {
            "status": "finished",
            "steps": 600,
            "metrics": {
                "validation/perplexity": 40.0 + index + seed / 10,
                "validation/bits_per_byte": 1.2 + seed / 1e3,
            },
            "optimizer_state_bytes": (14 - index) * 1024**2,
            "step_seconds": {"median": 0.08 + index / 100 + seed / 1000},
            "optimizer_step_seconds": {"median": 0.008},
            "peak_memory_bytes": (400 + index + seed) * 1024**2,
            "units_per_second": 50568.0 + seed,
            "unit": "tokens",
            "wall_seconds": 49.8 + seed,
        }

    return make


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_it_stays_within_80_columns_and_says_every_number(sweep, count):
    runs = sweep(count)
    text = rendered(runs)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    for row in build_table(group_runs(runs)).rows:
        for cell in row.cells:
            assert cell.text in text
    for label in build_table(group_runs(runs)).labels:
        assert label in text


def test_the_best_carries_an_asterisk(two_variants):
    text = rendered(group_runs(map(read_run, two_variants)))
    line = next(line for line in text.splitlines() if "perplexity" in line)
    assert "40.2 ± 0.2 *" in line
    assert "41.3 ± 0.3 *" not in line
    assert "* best" in text
    assert "standard deviation over seeds" in text


def test_long_labels_are_shortened_before_they_push_numbers_out(write_run, result_for):
    def write(index):
        wordy = {"name": "a" * 23, "option": index, "path": "p" * 60}
        return write_run(f"r{index}", optimizer=wordy, trainer={"x": index}, result=result_for(index, 0))

    runs = [read_run(write(index)) for index in range(3)]
    text = rendered(runs)
    assert max(map(len, text.splitlines())) <= 80
    assert "41.00" in text


def test_an_unfinished_variant_is_named_so(write_run):
    runs = [read_run(write_run("r", metrics=[{"step": 5, "validation/loss": 6.0}]))]
    text = rendered(runs)
    assert "unfinished" in text
    assert "values so far" in text.replace("\n", " ")
    assert "standard deviation" not in text


def test_a_console_without_utf_8_gets_ascii(two_variants):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", errors="strict", write_through=True)
    print_table([read_run(path) for path in two_variants], file, 80)
    assert b"40.2 +- 0.2 *" in raw.getvalue()


def test_runs_without_directions_have_arrows_and_asterisks_at_costs_alone(write_run, result_of):
    names = ("adamw", "sgd")
    results = [result_of(40.0), result_of(50.0, optimizer_state_bytes=1024)]

    def lines(directions):
        runs = [
            read_run(
                write_run(
                    f"{name}-{bool(directions)}",
                    optimizer={"name": name},
                    result=result,
                    directions=directions,
                )
            )
            for name, result in zip(names, results, strict=True)
        ]
        return rendered(runs).splitlines()

    old, new = lines(None), lines({"validation/perplexity": "lower"})
    assert [line for line in old if "*" in line and "best" not in line] == [
        line for line in old if "optimizer state" in line
    ]
    directed = [line.split(",")[0].strip() for line in old if "↓" in line or "↑" in line]
    assert directed == [
        "optimizer state",
        "peak memory",
        "step time",
        "optimizer step",
        "throughput",
        "wall time",
    ]
    assert any("perplexity ↓" in line and "40.00 *" in line for line in new)


def test_markup_in_a_label_is_text(write_run, result_for):
    names = ["[bold red]x[/]", "[/nonsense]"]
    runs = [
        read_run(write_run(f"r{i}", optimizer={"name": n}, result=result_for(i, 0)))
        for i, n in enumerate(names)
    ]
    text = rendered(runs)
    assert names[0] in text
    assert names[1] in text


def test_what_is_not_ranked_says_why_and_has_no_asterisk(write_run, result_of):
    runs = [
        read_run(write_run(name, optimizer={"name": name}, result=result_of(value, steps=steps)))
        for name, value, steps in (("adamw", 40.0, 600), ("sgd", 50.0, 700))
    ]
    text = rendered(runs, 60)
    assert "*" not in text
    assert text.startswith("Not ranked, because the runs differ in steps (600; 700).\n\n")
    assert max(map(len, text.splitlines())) <= 60


def test_letters_are_told_below_the_table(write_run, result_of):
    runs = [
        read_run(
            write_run(
                f"r-20260101-12000{place}",
                optimizer={"name": "adamw", **{f"option_{key}": place for key in range(9)}},
                result=result_of(40.0 + place),
            )
        )
        for place in range(2)
    ]
    lines = rendered(runs).splitlines()
    assert lines[0].split() == ["A", "B"]
    assert "A: adamw, option_0=0, option_1=0, option_2=0, option_3=0, option_4=0," in lines
    assert max(map(len, lines)) <= 80


def test_differences_seed_by_seed_stand_below_their_metric(two_variants):
    text = rendered(group_runs(map(read_run, two_variants)))
    lines = text.splitlines()
    place = next(place for place, line in enumerate(lines) if "perplexity" in line)
    assert lines[place + 1].split() == ["minus", "adamw", "(3", "seeds)", "-", "+1.10", "[+0.85,", "+1.35]"]
    assert "95 % interval" in " ".join(text.split())


@pytest.mark.parametrize(("key", "arrow"), [("step time", "↓"), ("throughput", "↑"), ("perplexity", "↓")])
def test_every_row_with_a_direction_has_an_arrow(two_variants, key, arrow):
    text = rendered(group_runs(map(read_run, two_variants)))
    assert any(key in line and arrow in line for line in text.splitlines())


def test_a_metric_of_two_parts_of_the_data_says_of_which_it_is(write_run, result_of, lines_of):
    runs = [
        read_run(
            write_run(f"r{place}", optimizer={"name": f"optimizer-{place}"}, metrics=lines_of(40.0 + place),
                      result=result_of(40.0 + place))
        )
        for place in range(9)
    ]  # fmt: skip
    headings = " ".join(line for line in rendered(runs).splitlines() if "optimizer-" not in line).split()
    assert [headings.count(part) for part in ("validation", "train", "loss")] == [1, 1, 2]


def test_rows_of_a_grid_read_differently(write_run, result_for):
    values = [(rate, decay) for rate in (0.001, 0.002) for decay in (0.05, 0.1, 0.2)]
    runs = [
        read_run(
            write_run(
                f"{place}-20260101-120000",
                optimizer={"name": "adamw", "lr": rate, "weight_decay": decay},
                result=result_for(place, 0),
            )
        )
        for place, (rate, decay) in enumerate(values)
    ]
    lines = rendered(runs).splitlines()
    assert all(any(line.startswith(f"adamw, {rate}, {decay} ") for line in lines) for rate, decay in values)
