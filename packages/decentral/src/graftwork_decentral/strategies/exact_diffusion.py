"""Exact diffusion, also known as D^2: ``x+ = W (2 x - x_prev - step g + step g_prev)``.

With one mixing and one buffer D, whose mean over agents stays 0 (derived here from the triple)::

    u = moved - D;     x+ = mix(u);     D+ = D + (u - x+)

On a fixed graph this equals the primal-dual rule. Where links fail it does not: this form still converges,
the other settles at a biased point.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from graftwork_decentral.strategies.form import Form, Mean
from graftwork_decentral.strategies.strategy import Strategy


class ExactDiffusionForm(Form):
    """One buffer, ``correction``."""

    buffers = ("correction",)
    correction: Tensor

    def outgoing(self, point: Tensor, moved: Tensor) -> dict[str, Tensor]:
        return {"point": moved - self.correction}

    def incoming(self, point: Tensor, moved: Tensor, mixed: Mapping[str, Tensor]) -> Tensor:
        following = mixed["point"]
        # In this order: what was sent is not kept, and is the same two numbers' difference again.
        self.correction.copy_(self.correction + ((moved - self.correction) - following))
        return following

    def after_membership_change(self, mean: Mean) -> None:
        self.correction -= mean(self.correction)


def exact_diffusion() -> Strategy:
    """Exact diffusion (D^2): corrects heterogeneity with one vector a step; needs a symmetric graph.

    >>> exact_diffusion().corrects_heterogeneity
    True
    """
    return Strategy(
        "exact-diffusion",
        a=(0.0, 1.0),
        b_squared=(1.0, -1.0),
        c=(0.0, 1.0),
        form=ExactDiffusionForm,
        needs_symmetric=True,
        lambda_min_bound=-1 / 3,
        time_varying_ok=True,
    )
