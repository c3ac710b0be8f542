"""What a mixing matrix must be, and what is read off it.

Reached from here: ``topology/spectrum.py``.
"""

from __future__ import annotations

import pytest
import torch

from graftwork_decentral.topology import GraphSequence, Topology, TopologySequence, full, ring


def matrix(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(
    ("mixing_matrix", "words"),
    [
        (torch.ones(2, 3), "must be square"),
        (torch.zeros(0, 0), "must be square"),
        (matrix([1.5, -0.5], [-0.5, 1.5]), "no negative"),
        (matrix([float("nan"), 1.0], [1.0, 0.0]), "infinite"),
        (matrix([0.5, 0.4], [0.5, 0.6]), "row 1 sums to 1.1"),
        (matrix([0.5, 0.5], [0.4, 0.6]), "column [01] sums to"),
        (matrix([0.5, 0.5], [0.5, 0.5]) * (1 + 0j), "must hold real numbers, got torch.complex128"),
    ],
)
def test_what_is_not_doubly_stochastic_is_refused(mixing_matrix: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Topology("wrong", mixing_matrix)


def test_the_matrix_is_a_copy_in_float64() -> None:
    given = torch.full((2, 2), 0.5)
    topology = Topology("pair", given)
    given.zero_()
    assert topology.mixing_matrix.dtype == torch.float64
    assert float(topology.mixing_matrix.sum()) == 2.0


def test_neighbours_and_edges() -> None:
    assert ring(5).neighbours == ((1, 4), (0, 2), (1, 3), (2, 4), (0, 3))
    assert ring(5).edges == 10
    assert full(4).edges == 12


def test_digests_are_of_the_weights_alone() -> None:
    assert ring(6).digest == Topology("other", ring(6).mixing_matrix).digest
    assert ring(6) != ring(6, lazy=True)
    assert len({ring(6), ring(6), ring(7)}) == 2


def test_a_sequence_takes_turns() -> None:
    sequence = TopologySequence("pair", [ring(6), full(6)])
    assert isinstance(sequence, GraphSequence)
    assert isinstance(ring(6), GraphSequence)
    assert [sequence.at(step) == ring(6) for step in range(4)] == [True, False, True, False]
    assert sequence.varies
    assert sequence.symmetric
    assert sequence.lambda_min == ring(6).lambda_min
    assert not TopologySequence("same", [ring(6), ring(6)]).varies
    assert sequence.digest != TopologySequence("turned", [full(6), ring(6)]).digest


def test_a_sequence_of_several_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got numbers \[4, 5\]"):
        TopologySequence("mixed", [ring(4), ring(5)])
    with pytest.raises(ValueError, match="at least one"):
        TopologySequence("empty", [])


def test_a_graph_in_two_parts_has_no_gap() -> None:
    apart = Topology("apart", torch.eye(3))
    assert apart.gap == pytest.approx(0.0, abs=1e-12)
    assert apart.lambda_2 == pytest.approx(1.0)
