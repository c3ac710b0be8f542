"""Eigenvalues of a mixing matrix, and how much of a disagreement one mixing takes away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What the eigenvalues of a doubly stochastic matrix say; the eigenvalue 1 of the mean is left out.

    Args:
        gap: ``1 - ||W - 11'/n||`` (spectral norm).
        lambda_2: the largest of the others, by real part.
        lambda_min: the least, by real part.
        others: all but the mean's, by descending real part; real numbers where the matrix is symmetric.
    """

    gap: float
    lambda_2: float
    lambda_min: float
    others: tuple[complex, ...]

    @classmethod
    def of(cls, mixing_matrix: Tensor) -> Spectrum:
        """Compute it.

        Args:
            mixing_matrix: ``[agents, agents]``, float64.

        >>> Spectrum.of(torch.full((4, 4), 0.25, dtype=torch.float64)).gap
        1.0
        """
        agents = len(mixing_matrix)
        disagreement = mixing_matrix - 1 / agents
        gap = 1 - float(torch.linalg.matrix_norm(disagreement, 2))
        if agents == 1:
            return cls(1.0, 0.0, 0.0, ())
        if torch.equal(mixing_matrix, mixing_matrix.T):
            values: list[complex] = torch.linalg.eigvalsh(mixing_matrix).tolist()
        else:
            values = torch.linalg.eigvals(mixing_matrix).tolist()
        mean = min(range(agents), key=lambda index: abs(values[index] - 1))
        others = sorted((*values[:mean], *values[mean + 1 :]), key=lambda value: -value.real)
        # A norm of what is zero but for rounding is not worth a digit.
        return cls(
            1.0 if gap > 1 - 1e-14 else gap, _clean(others[0].real), _clean(others[-1].real), tuple(others)
        )


def _clean(value: float) -> float:
    return 0.0 if abs(value) < 1e-14 else float(value)
