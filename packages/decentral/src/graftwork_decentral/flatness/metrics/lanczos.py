"""The largest eigenvalues of a Hessian, by Lanczos' method with full reorthogonalization.

After m products the Hessian is a tridiagonal matrix ``[m, m]`` in an orthonormal basis ``[m, parameters]``,
which is kept; an eigenpair's residual is |Hv - theta v|, known without further products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_decentral.flatness.metrics.flat import Objective
from graftwork_decentral.flatness.metrics.hessian_product import HessianProduct


@dataclass(frozen=True, slots=True)
class Eigenpairs:
    """Eigenvalues from the largest on.

    Args:
        values: ``[count]`` in float64.
        vectors: ``[count, parameters]``, of length one.
        residuals: ``[count]``; an eigenvalue of the Hessian lies within this of each value.
        products: that were taken.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int


def top_eigenvalues(
    objective: Objective,
    point: Tensor,
    count: int = 1,
    *,
    tolerance: float = 1e-4,
    most_products: int = 100,
    seed: int = 0,
) -> Eigenpairs:
    """Return the largest eigenvalues of the Hessian at a point, with sign.

    Args:
        objective: whose Hessian.
        point: ``[parameters]``.
        count: of eigenvalues.
        tolerance: stop when all residuals are below this share of the largest eigenvalue's size.
        most_products: stop after this many in any case; as many vectors are held.
        seed: of the first vector.

    Raises:
        ValueError: an argument is out of its range.

    >>> scales = torch.tensor([1.0, 5.0, 3.0])
    >>> found = top_eigenvalues(lambda w: (scales * w**2).sum() / 2, torch.zeros(3), 2)
    >>> [round(value, 4) for value in found.values.tolist()]
    [5.0, 3.0]
    """
    if not 1 <= count <= len(point):
        raise ValueError(f"count must be in 1..{len(point)}, the number of parameters, got {count}")
    if most_products < count:
        raise ValueError(f"most_products must be count = {count} or more, got {most_products}")
    product = HessianProduct(objective, point)
    generator = torch.Generator(point.device).manual_seed(seed)
    most = min(most_products, len(point))
    basis = torch.empty(most, len(point), dtype=point.dtype, device=point.device)
    diagonal: list[float] = []
    beside: list[float] = []
    basis[0] = _fresh(basis[:0], generator)
    while True:
        taken = len(diagonal) + 1
        held = basis[:taken]
        image = product(held[-1])
        diagonal.append(float((image * held[-1]).sum(dtype=torch.float64)))
        remainder = _orthogonal(image, held)
        length = float(remainder.norm())
        values, rotation = _tridiagonal(diagonal, beside)
        scale = float(values.abs().max())
        # Rounding of the products is all that is left: the basis spans an invariant subspace.
        spent = length <= 10 * torch.finfo(point.dtype).eps * scale
        residuals = (0.0 if spent else length) * rotation[-1].abs()
        chosen = torch.arange(taken - 1, max(taken - 1 - count, -1), -1)
        converged = bool((residuals[chosen] <= tolerance * scale).all())
        if taken == most or (taken >= count and converged and not spent):
            vectors = rotation[:, chosen].mT.to(held) @ held
            return Eigenpairs(values[chosen], vectors, residuals[chosen], taken)
        beside.append(0.0 if spent else length)
        basis[taken] = _fresh(held, generator) if spent else remainder / length


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor:
    """Return what is left of a vector; twice, for once leaves the rounding of what was taken away."""
    for _ in range(2):
        vector = vector - basis.mT @ (basis @ vector)
    return vector


def _fresh(basis: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(basis.shape[1], generator=generator, dtype=basis.dtype, device=basis.device)
    left = _orthogonal(drawn, basis)
    unit: Tensor = left / left.norm()
    return unit


def _tridiagonal(diagonal: list[float], beside: list[float]) -> tuple[Tensor, Tensor]:
    off = torch.tensor(beside, dtype=torch.float64)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    matrix += torch.diag(off, 1) + torch.diag(off, -1) if beside else 0.0
    values, vectors = torch.linalg.eigh(matrix)
    return values, vectors
