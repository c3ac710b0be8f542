"""Means and spreads, orderings and the figure, of rows made up.

Reached from here: ``flatness/study/figure.py``, ``flatness/study/groups.py``.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from graftwork_decentral.flatness.study import Row, write_report
from graftwork_decentral.flatness.study.report import groups_of, orderings


def rows() -> list[Row]:
    found = []
    for place, (method, graph) in enumerate(
        (("centralized", "full"), ("diffusion", "ring"), ("consensus", "ring"))
    ):
        for seed in (0, 1):
            risk = 0.1 * (place + 1) + 0.02 * seed
            measures = {
                "train_loss_agents": risk + 1,
                "excess_risk_agents": risk,
                "predicted_excess_risk": 0.3 - risk / 10,
                "bottom_hessian_trace": 10.0 + place,
                "validation_accuracy": 0.9,
            }
            found.append(Row(method, graph, 0.5, 4, 8, seed, 10, "finished", 1.0, measures))
    return [*found, Row("consensus", "ring", 0.5, 4, 8, 2, 10, "diverged", 1.0)]


def test_groups_differ_in_their_seed_alone() -> None:
    centralized, diffusion, consensus = groups_of(rows())
    assert diffusion.mean("excess_risk_agents") == pytest.approx(0.21)
    assert diffusion.spread("excess_risk_agents") == pytest.approx(0.02 / 2**0.5)
    assert (len(consensus.rows), consensus.diverged) == (2, 1)
    assert centralized.mean("hessian_trace") is None


def test_measured_and_predicted_orderings_stand_side_by_side() -> None:
    assert orderings(groups_of(rows())) == [
        "ring, batch 8, excess risk: centralized 0.11 < diffusion 0.21 < consensus 0.31",
        "ring, batch 8, predicted: consensus 0.269 < diffusion 0.279 < centralized 0.289",
    ]


def test_a_report_is_a_csv_a_table_and_a_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    text = write_report(rows(), tmp_path)
    assert "2 (1 diverged)" in text
    assert "0.21 ±0.01" in text
    with (tmp_path / "summary.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == ["centralized", "diffusion", "consensus"]
    assert float(lines[1]["excess_risk_agents_mean"]) == pytest.approx(0.21)
    assert (tmp_path / "flatness.png").stat().st_size > 10_000


def test_a_report_of_training_losses_alone_has_no_figure(tmp_path: Path) -> None:
    only = [Row("diffusion", "ring", 0.5, 4, 8, 0, 10, "finished", 1.0, {"train_loss_agents": 1.0})]
    assert "diffusion" in write_report(only, tmp_path)
    assert not (tmp_path / "flatness.png").exists()
