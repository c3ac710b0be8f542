"""The flatness reproduction at small sizes: it writes what it returns, and meets its references.

Reached from here: ``reproductions/flatness_figures.py``.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import Finding
from graftwork_decentral.flatness.methods import Method
from graftwork_decentral.reproductions import flatness_cases
from graftwork_decentral.reproductions.flatness import reproduce
from graftwork_decentral.reproductions.flatness_cases import Bowl


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Finding]]:
    output = tmp_path_factory.mktemp("flatness") / "new"
    patch = pytest.MonkeyPatch()
    patch.setattr(flatness_cases, "WINDOW", (100, 300))
    patch.setattr(flatness_cases, "LIMIT", 3000)
    try:
        return output, reproduce(output, replicas=40, exit_replicas=60, starts=60)
    finally:
        patch.undo()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_it_writes_what_it_returns(reproduced: tuple[Path, list[Finding]]) -> None:
    output, findings = reproduced
    written = json.loads((output / "findings.json").read_text())
    assert [entry["quantity"] for entry in written] == [finding.quantity for finding in findings]
    assert len({finding.quantity for finding in findings}) == len(findings)
    assert all(math.isfinite(finding.measured) for finding in findings)
    lengths = {"by_hand": 24, "batch_scan": 18, "graph_scan": 8, "horizon": 180, "exits": 24, "shares": 9}
    for name, length in lengths.items():
        assert len(rows(output / f"{name}.csv")) == length
    exits = rows(output / "exits.csv")
    assert sum(row["reference"] != "" for row in exits) == 12
    assert {row["line"] for row in exits if row["reference"] == ""} == {"-0.20930502"}


def test_the_table_by_hand_is_met_to_its_digits(reproduced: tuple[Path, list[Finding]]) -> None:
    compared = [finding for finding in reproduced[1] if "b = (" in finding.quantity]
    assert len(compared) == 24
    for finding in compared:
        assert finding.measured == pytest.approx(finding.expected, rel=2e-6)


def test_simulations_agree_with_the_exact_values(reproduced: tuple[Path, list[Finding]]) -> None:
    for name in ("batch_scan", "graph_scan"):
        for row in rows(reproduced[0] / f"{name}.csv"):
            if row["simulated"]:
                assert abs(float(row["simulated"]) - float(row["exact"])) < 4.5 * float(row["standard_error"])
    horizon = rows(reproduced[0] / "horizon.csv")
    for row in horizon[::10]:
        assert abs(float(row["simulated"]) - float(row["exact"])) < 4.5 * float(row["standard_error"])


def test_exits_are_ordered_and_near_the_reference(reproduced: tuple[Path, list[Finding]]) -> None:
    by_quantity = {finding.quantity: finding for finding in reproduced[1]}
    for place in ("line -0.25", "the barrier"):
        slow = by_quantity[f"steps to leave, centralized over diffusion, noise 18, beta 2, {place}"]
        fast = by_quantity[f"steps to leave, diffusion over consensus, noise 18, beta 2, {place}"]
        assert slow.measured >= 6
        assert fast.measured >= 1.35
    for row in rows(reproduced[0] / "exits.csv"):
        if row["reference"] and row["method"] != "centralized":
            apart = abs(float(row["mean"]) - float(row["reference"]))
            assert apart < 3.5 * float(row["standard_error"])


def test_thresholds_without_noise(reproduced: tuple[Path, list[Finding]]) -> None:
    by_quantity = {finding.quantity: finding.measured for finding in reproduced[1]}
    assert by_quantity["beta at which agents leave without noise, diffusion"] == pytest.approx(7.70, abs=0.02)
    assert by_quantity["beta at which agents leave without noise, consensus"] == pytest.approx(7.23, abs=0.02)
    assert by_quantity["leaves without noise at beta up to 1000, centralized (1 if it does)"] == 0.0


def test_nothing_is_called_published(reproduced: tuple[Path, list[Finding]]) -> None:
    assert {finding.origin for finding in reproduced[1]} == {"computed", "earlier run", ""}
    assert all(finding.origin == "computed" for finding in reproduced[1] if "simulated" in finding.quantity)


def test_the_drawn_case_has_the_curvatures_and_noise_it_says() -> None:
    bowl = Bowl.drawn()
    curvatures = torch.linalg.eigvalsh(bowl.hessian).tolist()
    assert curvatures == pytest.approx([0.22, 0.62, 1.02, 1.42, 1.82])
    assert float(bowl.noise.trace()) == pytest.approx(4.78)
    methods: tuple[Method, ...] = ("centralized", "diffusion", "consensus")
    risks = [bowl.risk(method, "ring", math.inf) for method in methods]
    assert risks[0] == 0.0 < risks[1] < risks[2]


def test_the_figures_show_something(reproduced: tuple[Path, list[Finding]]) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    for name in ("excess_risk", "escape"):
        picture = imread(reproduced[0] / f"{name}.png")
        assert picture.shape[:2] == (546, 1690)
        assert picture[..., :3].std() > 0.05


@pytest.mark.parametrize("name", ["replicas", "exit_replicas", "starts"])
def test_options_out_of_range_are_named(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {name: 1}
    with pytest.raises(ValueError, match=f"{name} must be 2 or more, got 1"):
        reproduce(tmp_path / "never", **options)
    assert not (tmp_path / "never").exists()
