from __future__ import annotations

import numpy as np
import pytest

from graftwork_decentral.tasks.partition import dirichlet_parts, even_parts


def test_parts_are_disjoint_and_whole() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 500)
    for parts in (even_parts(500, 7, 0), dirichlet_parts(labels, 7, 0.2, 0)):
        assert sorted(np.concatenate(parts).tolist()) == list(range(500))
        assert min(map(len, parts)) >= 1


@pytest.mark.parametrize(("alpha", "uneven"), [(0.1, True), (1000.0, False)])
def test_a_small_alpha_gives_an_agent_few_classes(alpha: float, uneven: bool) -> None:
    labels = np.arange(5000) % 10
    parts = dirichlet_parts(labels, 10, alpha, 0)
    largest = np.mean([np.bincount(labels[part], minlength=10).max() / len(part) for part in parts])
    assert (largest > 0.35) == uneven


def test_an_impossible_partition_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha = 0\.01 leaves one of 10 agents"):
        dirichlet_parts(np.zeros(12, dtype=np.int64), 10, 0.01, 0, least=2)
