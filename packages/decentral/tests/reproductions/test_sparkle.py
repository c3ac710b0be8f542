"""The reproduction of SPARKLE in small.

Reached from here: ``reproductions/sparkle_figures.py``.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from graftwork_decentral.reproductions import (
    sparkle,
    sparkle_hyper_cleaning,
    sparkle_problem_q,
    sparkle_topology,
)
from graftwork_decentral.reproductions import sparkle_variants as variants
from graftwork_decentral.reproductions.sparkle_workers import workers_pool


def test_writes_tables_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparkle_hyper_cleaning, "COMPARED", (variants.D_SOBA, variants.ED))
    monkeypatch.setattr(sparkle_hyper_cleaning, "AGENTS", 4)
    monkeypatch.setattr(sparkle_topology, "AGENTS", 10)
    monkeypatch.setattr(sparkle_topology, "SELF_WEIGHTS", (0.5, 0.9))
    monkeypatch.setattr(sparkle_topology, "_PAIRS", {"ED": ("exact-diffusion", "exact-diffusion")})
    monkeypatch.setattr(sparkle_topology, "EARLY", 10)
    monkeypatch.setattr(sparkle_topology, "clean", lambda *_given: FINISHED)
    monkeypatch.setattr(sparkle_problem_q, "_UNIFORM", (variants.D_SOBA, variants.ED))
    monkeypatch.setattr(sparkle_problem_q, "_ORDERED", (variants.ED,))
    findings = sparkle.reproduce(tmp_path, seeds=1, problem_steps=200, cleaning_steps=250, workers=1)
    by_name = {finding.quantity: finding for finding in findings}
    assert all(finding.published is None for finding in findings)
    solved, stalled = (by_name[f"problem Q, {name}"].measured for name in ("SPARKLE-ED", "D-SOBA"))
    assert solved < 0.1 * stalled
    assert by_name["digits, right labels only, accuracy of the convex optimum"].measured > 0.9
    for name in ("problem_q", "hyper_cleaning", "topology"):
        rows = list(csv.reader((tmp_path / f"{name}.csv").open()))
        assert len(rows) > 2
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


FINISHED = sparkle_hyper_cleaning.CleaningRun(
    variants.ED, 0, [sparkle_hyper_cleaning.Moment(10, 50, 0.5, 0.6, 0.7, 0.1)]
)


def test_workers_change_no_bit() -> None:
    results = []
    for workers in (1, 2):
        with workers_pool(workers) as pool:
            cleaned = pool.submit(sparkle_hyper_cleaning.clean, variants.CENTRALIZED, 0, 10)
            solved = [
                pool.submit(sparkle_problem_q._descended, variants.ED, graph, 8, 20, 0, "")
                for graph in ("ring", "star")
            ]
            results.append((cleaned.result().moments, [curve.result().errors for curve in solved]))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "options", [{"seeds": 0}, {"problem_steps": 0}, {"cleaning_steps": 249}, {"workers": 0}]
)
def test_too_little_is_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be at least"):
        sparkle.reproduce(tmp_path, **options)
