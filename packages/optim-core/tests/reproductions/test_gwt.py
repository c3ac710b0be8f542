"""The reproduction agrees with the page to the printed digit."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from graftwork_optim_core.reproductions.gwt import LLAMA, SIZES_IN_GB, reproduce, state_gigabytes

MILLIONS = {
    "60M": (58.07, 25.30),
    "130M": (134.11, 84.93),
    "350M": (367.97, 302.38),
    "1B": (1339.08, 1207.91),
    "3B": (2685.83, 2521.83),
    "7B": (6738.42, 6476.01),
}
SAVING_AT_LEVEL_2 = {"60M": 32.7, "130M": 47.5, "350M": 61.6, "1B": 67.7, "3B": 70.4, "7B": 72.1}
SAVING_AT_LEVEL_3 = {"1B": 78.9, "7B": 84.1}


@pytest.mark.parametrize("name", LLAMA)
def test_section_7_parameter_counts(name: str) -> None:
    transformed = sum(weight.numel() for weight in LLAMA[name].transformed())
    total = transformed + sum(weight.numel() for weight in LLAMA[name].plain())
    assert (round(total / 1e6, 2), round(transformed / 1e6, 2)) == MILLIONS[name]


@pytest.mark.parametrize("level", range(5))
@pytest.mark.parametrize("name", LLAMA)
def test_section_7_table_to_the_printed_digit(name: str, level: int) -> None:
    assert round(state_gigabytes(LLAMA[name], level), 3) == SIZES_IN_GB[name][level]


def test_section_7_savings() -> None:
    for level, savings in ((2, SAVING_AT_LEVEL_2), (3, SAVING_AT_LEVEL_3)):
        for name, percent in savings.items():
            saved = 1 - state_gigabytes(LLAMA[name], level) / state_gigabytes(LLAMA[name], 0)
            assert round(100 * saved, 1) == percent


def test_reproduction_writes_what_it_returns(tmp_path: Path) -> None:
    findings = reproduce(tmp_path / "new")
    assert len(findings) == 6 * 5 + 2 * 8
    for finding in findings:
        assert finding.published is not None
        assert abs(finding.measured - finding.published) <= 5e-4
    hand = [finding for finding in findings if "worked example" in finding.quantity]
    assert all(abs(finding.measured - finding.published) < 1e-11 for finding in hand if finding.published)
    written = json.loads((tmp_path / "new" / "findings.json").read_text())
    assert [entry["quantity"] for entry in written] == [finding.quantity for finding in findings]
    with (tmp_path / "new" / "state_sizes.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[1][:2] == ["60M", "0.232"]
