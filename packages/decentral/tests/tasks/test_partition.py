from __future__ import annotations

import numpy as np
import pytest

from graftwork import GraftworkError
from graftwork_decentral.tasks.partition import Part, dirichlet_parts, even_parts


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
    with pytest.raises(GraftworkError, match=r"task\.alpha = 0\.01 leaves one of trainer\.agents = 10"):
        dirichlet_parts(np.zeros(20, dtype=np.int64), 10, 0.01, 0, least=2)


@pytest.mark.parametrize("deal", [even_parts, dirichlet_parts])
def test_fewer_samples_than_agents_are_refused_at_once(deal: object) -> None:
    given = 3 if deal is even_parts else np.zeros(3, dtype=np.int64)
    options = {"seed": 0} if deal is even_parts else {"alpha": 1.0, "seed": 0}
    with pytest.raises(GraftworkError, match=r"trainer\.agents must be at most 3, .*1 of 3 samples, got 4"):
        deal(given, 4, **options)  # type: ignore[operator]
    assert [len(part) for part in deal(given, 3, **options)] == [1, 1, 1]  # type: ignore[operator]


class Numbers:
    def __len__(self) -> int:
        return 100

    def batch(self, rows: np.ndarray) -> list[int]:
        return rows.tolist()


def test_an_agent_draws_from_its_own_examples_alone() -> None:
    own = np.array([3, 5, 8, 13, 21])
    stream = Part(Numbers(), own).shuffled(2, seed=(0, 1))
    first_two_epochs = [number for _ in range(5) for number in next(stream)]
    assert sorted(first_two_epochs[:5]) == sorted(first_two_epochs[5:]) == own.tolist()


def test_an_agent_with_less_than_a_batch_gives_all_it_has() -> None:
    stream = Part(Numbers(), np.array([4, 7])).shuffled(50, seed=(0,))
    assert [sorted(next(stream)) for _ in range(3)] == [[4, 7]] * 3
