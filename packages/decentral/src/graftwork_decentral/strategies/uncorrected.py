"""Diffusion (adapt, then combine) and consensus: mixing without a correction.

Agents with different data settle beside the minimizer of their mean, at a distance that grows with the step.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from graftwork_decentral.strategies.form import Form
from graftwork_decentral.strategies.strategy import Strategy


class DiffusionForm(Form):
    """``x+ = mix(moved)``."""

    def outgoing(self, point: Tensor, moved: Tensor) -> dict[str, Tensor]:
        return {"point": moved}

    def incoming(self, point: Tensor, moved: Tensor, mixed: Mapping[str, Tensor]) -> Tensor:
        return mixed["point"]


class ConsensusForm(Form):
    """``x+ = mix(x) + (moved - x)``."""

    reads_point = True

    def outgoing(self, point: Tensor, moved: Tensor) -> dict[str, Tensor]:
        return {"point": point}

    def incoming(self, point: Tensor, moved: Tensor, mixed: Mapping[str, Tensor]) -> Tensor:
        return mixed["point"] + (moved - point)


def diffusion() -> Strategy:
    """Adapt, then combine: ``x+ = W (x - step g)``; also known as decentralized SGD (adapt-then-combine).

    >>> diffusion().vectors_per_step
    1
    """
    return Strategy(
        "diffusion", a=(0.0, 1.0), b_squared=(0.0,), c=(0.0, 1.0), form=DiffusionForm, time_varying_ok=True
    )


def consensus() -> Strategy:
    """Combine and adapt at once: ``x+ = W x - step g``; also known as decentralized SGD.

    >>> consensus().a
    (1.0,)
    """
    return Strategy(
        "consensus", a=(1.0,), b_squared=(0.0,), c=(0.0, 1.0), form=ConsensusForm, time_varying_ok=True
    )
