"""What the theory of the quadratic model says of a real run, fed from the bottom below its centroid.

The excess risk after n steps from a minimum (:mod:`graftwork_decentral.flatness.theory.modal`, derived for
this package after arXiv:2406.20006) is a sum of quadratic forms v' f(H) v, which need no matrix: Lanczos'
method with q products Hv gives nodes and weights of the Gauss quadrature of v, exact for q = parameters. With
W = V diag(lam) V', b_k the gradient of J_k less their mean, Sigma = R / B the covariance of a batch's
gradient::

    ER(n) = (1/2K) [ sum_{m>=2} bhat_m' f_m(H) bhat_m + sum_m Tr(Sigma g_m(H)) ],   bhat_m = sum_k V_km b_k
    f_m(h) = h mu^2 c_m^2 ((1 - a^n) / (1 - a))^2,   g_m(h) = h mu^2 c_m^2 (1 - a^(2n)) / (1 - a^2)
    centralized  a = 1 - mu h, c = 1, m = 1 only      consensus  a = lam_m - mu h, c = 1
    diffusion    a = lam_m (1 - mu h), c = lam_m

The part of m >= 2 is what disagreement costs, Tr(HS) / 2 with S the agents' covariance about their centroid,
which the study measures too. Assumed: one Hessian and one Sigma for all agents, both constant; plain gradient
steps; independent batches. Directions of negative curvature count for nothing. A run from random weights does
not start at a minimum: its shared part (m = 1) is above the prediction while training still descends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_decentral.flatness.arrays import mixing_modes
from graftwork_decentral.flatness.metrics import Objective, gradient, gradient_noise_trace

_ROUNDING = 1e-7


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Noise and heterogeneity at a point.

    Args:
        noise: Tr(Sigma), the mean over agents.
        noise_vectors: ``[agents, parameters]``, the mean of whose v v' has the expectation Sigma.
        apart: ``[agents, parameters]``, b_k.
    """

    noise: float
    noise_vectors: Tensor
    apart: Tensor

    @property
    def heterogeneity(self) -> float:
        """sum_k ||b_k||^2."""
        return float(self.apart.double().square().sum())

    @classmethod
    def at(
        cls, point: Tensor, local: Sequence[Objective], noisy: Sequence[Sequence[Objective]]
    ) -> Surroundings:
        """Measure them.

        Args:
            point: ``[parameters]``.
            local: J_k of every agent.
            noisy: for every agent the losses of two or more independent batches.

        >>> agents = [lambda w: ((w - 1) ** 2).sum(), lambda w: ((w + 1) ** 2).sum()]
        >>> found = Surroundings.at(torch.zeros(1), agents, [[agents[0]] * 2, [agents[1]] * 2])
        >>> found.noise, found.heterogeneity
        (0.0, 8.0)
        """
        noise, vectors = [], []
        for batches in noisy:
            slopes = [gradient(one, point) for one in batches]
            noise.append(gradient_noise_trace(slopes))
            vectors.append((slopes[0] - slopes[1]) / 2**0.5)
        slopes_of_agents = torch.stack([gradient(one, point) for one in local])
        apart = slopes_of_agents - slopes_of_agents.mean(0)
        return cls(sum(noise) / len(noise), torch.stack(vectors), apart)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of the mean over agents.

    Args:
        shared: excess risk of the centroid's motion, the same for all methods.
        disagreement: what agents pay for being apart, Tr(HS) / 2.
    """

    shared: float
    disagreement: float

    @property
    def excess_risk(self) -> float:
        """Both."""
        return self.shared + self.disagreement


def predict(
    surroundings: Surroundings,
    product: Callable[[Tensor], Tensor],
    method: str,
    mixing_matrix: Tensor,
    step_size: float,
    steps: int,
    *,
    products: int,
) -> Prediction | None:
    """Return the excess risk after some steps, or None where the theory does not cover the case.

    Args:
        surroundings: of the minimum.
        product: of the Hessian of J and a vector.
        method: ``centralized``, ``diffusion`` or ``consensus``; None is returned for others.
        mixing_matrix: ``[agents, agents]``; None is returned where it is not symmetric.
        step_size: of plain gradient steps; None is returned where they are unstable.
        steps: n.
        products: q, for each of up to 2 agents - 1 vectors.
    """
    agents = len(mixing_matrix)
    if method not in ("centralized", "diffusion", "consensus"):
        return None
    if not torch.equal(mixing_matrix, mixing_matrix.mT):
        return None
    noise = [quadrature(product, vector, products) for vector in surroundings.noise_vectors]
    nodes = torch.cat([found[0] for found in noise])
    weights = torch.cat([found[1] for found in noise]) / agents
    lam, directions = mixing_modes(mixing_matrix)
    shared = disagreement = 0.0
    for mode in range(1 if method == "centralized" else agents):
        rate = 1.0 if mode == 0 else float(lam[mode])
        risen, unstable = _responses(nodes, rate, method, step_size, steps)
        if unstable:
            return None
        variance = float((weights * risen[1]).sum())
        if mode == 0:
            shared = variance
            continue
        own = (directions[:, mode].to(surroundings.apart) @ surroundings.apart).contiguous()
        own_nodes, own_weights = quadrature(product, own, products)
        risen, unstable = _responses(own_nodes, rate, method, step_size, steps)
        if unstable:
            return None
        disagreement += variance + float((own_weights * risen[0]).sum())
    return Prediction(shared / (2 * agents), disagreement / (2 * agents))


def _responses(
    curvatures: Tensor, rate: float, method: str, step_size: float, steps: int
) -> tuple[tuple[Tensor, Tensor], bool]:
    """f_m and g_m at curvatures, and whether one of them is unstable."""
    curvature = curvatures.clamp(min=0)
    moved = step_size * curvature
    contraction = rate - moved if method == "consensus" else rate * (1 - moved)
    gain = rate if method == "diffusion" else 1.0
    # Without curvature mode 1 drifts: nothing settles, but at no curvature nothing is paid for either.
    still = (1 - contraction).abs() < _ROUNDING
    remaining = (1 - contraction).masked_fill(still, 1.0)
    summed = torch.where(still, float(steps), (1 - contraction**steps) / remaining)
    squares = torch.where(
        still, float(steps), (1 - contraction ** (2 * steps)) / (remaining * (1 + contraction))
    )
    scale = curvature * (step_size * gain) ** 2
    return (scale * summed.square(), scale * squares), bool((contraction.abs() > 1).any())


def quadrature(product: Callable[[Tensor], Tensor], vector: Tensor, products: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights such that v' f(A) v is nearly the sum of weights times f(nodes).

    Args:
        product: of a symmetric matrix A and a vector.
        vector: v ``[parameters]``.
        products: to take, 1 or more; fewer where v lies in a smaller invariant subspace.

    >>> nodes, weights = quadrature(lambda v: torch.tensor([1.0, 3.0]) * v, torch.tensor([2.0, 1.0]), 2)
    >>> [round(float(value), 4) for value in (nodes.sum(), weights.sum(), (weights * nodes).sum())]
    [4.0, 5.0, 7.0]
    """
    length = float(vector.norm())
    if length == 0:
        return torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    basis, diagonal, beside = [vector / length], [], []
    for _ in range(min(products, len(vector))):
        image = product(basis[-1])
        diagonal.append(float(image @ basis[-1]))
        held = torch.stack(basis)
        for _ in range(2):
            image = image - held.mT @ (held @ image)
        left = float(image.norm())
        if left <= 10 * torch.finfo(vector.dtype).eps * max(map(abs, diagonal)) or len(diagonal) == products:
            break
        beside.append(left)
        basis.append(image / left)
    size = len(diagonal)
    off = torch.tensor(beside[: size - 1], dtype=torch.float64)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if size > 1:
        matrix += torch.diag(off, 1) + torch.diag(off, -1)
    nodes, vectors = torch.linalg.eigh(matrix)
    return nodes, length**2 * vectors[0].square()


def plain_step_size(optimizer: torch.optim.Optimizer) -> float | None:
    """Return the step of plain gradient descent, or None where an optimizer does something else.

    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> plain_step_size(torch.optim.SGD([weight], lr=0.5))
    0.5
    >>> plain_step_size(torch.optim.SGD([weight], lr=0.5, momentum=0.9)) is None
    True
    """
    if type(optimizer) is not torch.optim.SGD:
        return None
    groups = optimizer.param_groups
    changed = any(group["momentum"] or group["weight_decay"] or group["maximize"] for group in groups)
    rates = {float(group["lr"]) for group in groups}
    return None if changed or len(rates) > 1 else rates.pop()
