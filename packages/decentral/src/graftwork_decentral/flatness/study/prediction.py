"""What the small-step theory says of a real run, fed with what was measured at the bottom below its centroid.

Derived here from the quadratic model (:mod:`graftwork_decentral.flatness.theory.small_step`), which needs no
matrix but only numbers that products with the Hessian H of J give. g a batch's gradient of one agent, Sigma
its covariance (R / B), b_k the gradient of J_k less their mean, W = V diag(lam) V'::

    shared        = mu Tr(Sigma) / (4 K)
    disagreement  = mu^2 / (2K) sum_{m>=2} share_m [ (V' G V)_mm / (1-lam_m)^2 + Tr(H Sigma) / (1-lam_m^2) ]
    G_jk = b_j' H b_k,   share_m = lam_m^2 for diffusion, 1 for consensus

The excess risk is the sum of both; the disagreement alone is Tr(HS) / 2, S the agents' covariance about their
centroid, which the study measures too. It settles within about 1 / (1 - lam_2) steps; the shared part needs
1 / (mu h) steps for every curvature h, so that after a finite run it is a bound from above. Both hold for
plain gradient steps with mu h_max far below 1 - lam_2, in the same Hessian for all agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_decentral.flatness.arrays import mixing_modes
from graftwork_decentral.flatness.metrics import HessianProduct, Objective, gradient, gradient_noise_trace

_CONNECTED = 1e-12


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Noise and heterogeneity at a point, as the theory sees them.

    Args:
        noise: Tr(Sigma), the mean over agents.
        curved_noise: Tr(H Sigma); NaN where it was not asked for.
        heterogeneity: sum_k ||b_k||^2.
        curved_heterogeneity: ``[agents, agents]``, b_j' H b_k; empty where it was not asked for.
    """

    noise: float
    curved_noise: float
    heterogeneity: float
    curved_heterogeneity: Tensor

    @classmethod
    def at(
        cls,
        point: Tensor,
        objective: Objective,
        local: Sequence[Objective],
        noisy: Sequence[Sequence[Objective]],
        *,
        curved: bool = True,
    ) -> Surroundings:
        """Measure them.

        Args:
            point: ``[parameters]``.
            objective: J.
            local: J_k of every agent.
            noisy: for every agent the losses of two or more independent batches.
            curved: also take the products with the Hessian: one a batch, one an agent.

        >>> agents = [lambda w: ((w - 1) ** 2).sum(), lambda w: ((w + 1) ** 2).sum()]
        >>> found = Surroundings.at(
        ...     torch.zeros(1), lambda w: (w**2).sum(), agents, [[agents[0]] * 2, [agents[1]] * 2]
        ... )
        >>> found.noise, found.heterogeneity, found.curved_heterogeneity.tolist()
        (0.0, 8.0, [[8.0, -8.0], [-8.0, 8.0]])
        """
        product = HessianProduct(objective, point)
        noise, curved_noise = [], []
        for batches in noisy:
            slopes = torch.stack([gradient(one, point) for one in batches])
            noise.append(gradient_noise_trace(slopes))
            if curved:
                apart = slopes - slopes.mean(0)
                risen = sum(float((one * product(one)).sum(dtype=torch.float64)) for one in apart)
                curved_noise.append(risen / (len(apart) - 1))
        slopes = torch.stack([gradient(one, point) for one in local])
        apart = slopes - slopes.mean(0)
        gram = torch.zeros(0, 0, dtype=torch.float64)
        if curved:
            images = torch.stack([product(one) for one in apart])
            gram = (apart.double() @ images.double().mT).cpu()
        return cls(
            sum(noise) / len(noise),
            sum(curved_noise) / len(curved_noise) if curved_noise else float("nan"),
            float(apart.double().square().sum()),
            gram,
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """To leading order in the step.

    Args:
        shared: excess risk that all methods have, with one centroid.
        disagreement: what agents pay for being apart, Tr(HS) / 2.
    """

    shared: float
    disagreement: float

    @property
    def excess_risk(self) -> float:
        """Of the agents' mean."""
        return self.shared + self.disagreement


def predict(
    surroundings: Surroundings, method: str, mixing_matrix: Tensor, step_size: float
) -> Prediction | None:
    """Return the small-step excess risk, or None where the theory does not cover the case.

    Args:
        surroundings: with the products with the Hessian.
        method: ``centralized``, ``diffusion`` or ``consensus``; None is returned for others.
        mixing_matrix: ``[agents, agents]``; None is returned where it is not symmetric, or more than one
            eigenvalue is of size 1.
        step_size: of plain gradient steps.
    """
    agents = len(mixing_matrix)
    shared = step_size * surroundings.noise / (4 * agents)
    if method == "centralized":
        return Prediction(shared, 0.0)
    if method not in ("diffusion", "consensus") or not torch.equal(mixing_matrix, mixing_matrix.mT):
        return None
    lam, directions = mixing_modes(mixing_matrix)
    lam, directions = lam[1:], directions[:, 1:]
    if bool((lam.abs() > 1 - _CONNECTED).any()):
        return None
    bias = (directions.mT @ surroundings.curved_heterogeneity @ directions).diagonal() / (1 - lam) ** 2
    variance = surroundings.curved_noise / (1 - lam**2)
    share = lam**2 if method == "diffusion" else torch.ones_like(lam)
    return Prediction(shared, step_size**2 / (2 * agents) * float((share * (bias + variance)).sum()))


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
