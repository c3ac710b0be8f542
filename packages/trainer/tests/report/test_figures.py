"""Which figures a report has, and which of them lead."""

from __future__ import annotations

import pytest

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.figures import plan_figures
from graftwork_trainer.report.palette import choose_palette
from graftwork_trainer.report.table import build_table

RECORD = {
    "validation/perplexity": 9.0,
    "validation/loss": 2.0,
    "validation/accuracy": 0.5,
    "train/loss": 2.0,
    "train/gradient_norm": 1.0,
}


@pytest.fixture
def planned(write_run):
    def plan(*metrics):
        lines = [
            {"step": step, "seconds": step} | {name: RECORD[name] / step for name in metrics}
            for step in (1, 2, 3)
        ]
        variants = group_runs([read_run(write_run("r", metrics=lines))])
        table = build_table(variants)
        exhibits = plan_figures(variants, table, choose_palette(table))
        return [(one.title, len(one.plots)) for one in exhibits if one.leading], [
            one.title for one in exhibits if not one.leading
        ]

    return plan


def test_the_first_metric_and_training_beside_validation_lead_by_step_and_by_wall_time(planned):
    leading, further = planned(*RECORD)
    assert leading == [("Validation perplexity", 2), ("Validation and training loss", 2)]
    assert further == ["Validation accuracy", "Training gradient norm"]


@pytest.mark.parametrize(
    ("metrics", "titles"),
    [
        (("validation/loss", "train/loss"), ["Validation and training loss"]),
        (("validation/accuracy", "train/loss"), ["Validation accuracy", "Training loss"]),
        (("train/loss",), ["Training loss"]),
        (("validation/loss",), ["Validation loss"]),
    ],
)
def test_no_training_loss_is_shown_twice(planned, metrics, titles):
    leading, further = planned(*metrics)
    assert [title for title, _ in leading] == titles
    assert further == []


def test_names_of_files_differ_and_fit(write_run):
    long = "validation/" + "準" * 300
    names = ["validation/a_b", "validation/a-b", "validation/A-b", long, f"{long}x"]
    lines = [{"step": step, "seconds": step} | dict.fromkeys(names, 1.0 / step) for step in (1, 2, 3)]
    variants = group_runs([read_run(write_run("r", metrics=lines))])
    table = build_table(variants)
    exhibits = plan_figures(variants, table, choose_palette(table))
    files = [plot.name for exhibit in exhibits for plot in exhibit.plots]
    assert len({name.casefold() for name in files}) == len(files) == len(names) + 1
    assert {"validation-A-b", "validation-a-b-2", "validation-a-b-3"} <= set(files)
    assert max(len(f"{name}.png".encode()) for name in files) <= 143
