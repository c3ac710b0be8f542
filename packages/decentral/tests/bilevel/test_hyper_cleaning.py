"""The table of digits hyper-cleaning, one draw; tolerances are half the gap between neighbours.

Reached from here: ``bilevel/flat_model.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graftwork_decentral.reproductions import sparkle_variants as variants
from graftwork_decentral.reproductions.sparkle_hyper_cleaning import (
    EARLY,
    MIDDLE,
    CleaningRun,
    clean,
    without_cleaning,
)


@pytest.fixture(scope="module")
def runs() -> dict[str, CleaningRun]:
    compared = (variants.D_SOBA, variants.GT, variants.ED, variants.EXTRA, variants.CENTRALIZED)
    return {variant.label: clean(variant, seed=1, steps=MIDDLE) for variant in compared}


@pytest.fixture
def early(runs: dict[str, CleaningRun]) -> Callable[[str], float]:
    return lambda label: runs[label].at(EARLY).worst


def test_worst_agent_at_step_50(early: Callable[[str], float]) -> None:
    assert early("D-SOBA") < 0.40
    assert 0.40 < early("SPARKLE-GT (semi)") < 0.68
    assert early("SPARKLE-ED") > 0.68
    assert early("SPARKLE-EXTRA") > 0.68


def test_weights_find_wrong_labels_at_step_250(runs: dict[str, CleaningRun]) -> None:
    found = {label: run.at(MIDDLE).auc for label, run in runs.items()}
    assert found["D-SOBA"] < 0.94
    assert found["SPARKLE-GT (semi)"] > 0.94
    assert min(found["SPARKLE-ED"], found["SPARKLE-EXTRA"]) > 0.983
    assert found["SPARKLE-ED"] > found["SPARKLE-GT (semi)"]
    assert found["SPARKLE-ED"] == pytest.approx(found["fully connected"], abs=2e-3)


def test_disagreement_is_ordered(runs: dict[str, CleaningRun]) -> None:
    spread = [runs[label].at(MIDDLE).disagreement for label in ("SPARKLE-ED", "SPARKLE-GT (semi)", "D-SOBA")]
    assert spread[0] < 0.3 * spread[1]
    assert spread[1] < 0.3 * spread[2]


def test_wrong_labels_cost_accuracy_without_cleaning() -> None:
    assert without_cleaning(1, only_right=False) < 0.88 < without_cleaning(1, only_right=True)
