"""EXTRA: ``x+ = 2 W x - W x_prev - step (g - g_prev)`` (arXiv:1404.6264, whose (I + W)/2 is W here).

With one mixing and two buffers, D whose mean over agents stays 0, and m = mix(x) kept from the step before
(derived here from the triple)::

    x+ = m + (moved - x) - D;     m+ = mix(x+);     D+ = D + (x+ - m+)

What is sent is needed in the next step only, so that mixing can go on while the next gradient is computed.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from graftwork_decentral.strategies.form import Form, Mean
from graftwork_decentral.strategies.strategy import Strategy


class ExtraForm(Form):
    """``correction``, and ``ahead``: the mixed point less the point, which is 0 where all agents start alike.

    Kept as a difference, so that a start at which they do is a state of zeros.
    """

    buffers = ("correction", "ahead")
    correction: Tensor
    ahead: Tensor

    def outgoing(self, point: Tensor, moved: Tensor) -> dict[str, Tensor]:
        return {"point": moved + (self.ahead - self.correction)}

    def incoming(self, point: Tensor, moved: Tensor, mixed: Mapping[str, Tensor]) -> Tensor:
        following = moved + (self.ahead - self.correction)
        self.ahead.copy_(mixed["point"] - following)
        self.correction.sub_(self.ahead)
        return following

    def after_membership_change(self, mean: Mean) -> None:
        self.correction -= mean(self.correction)
        self.ahead -= mean(self.ahead)


def extra() -> Strategy:
    """EXTRA: corrects heterogeneity with one vector a step; smaller steps than exact diffusion.

    >>> extra().lambda_min_bound
    -0.3333333333333333
    """
    return Strategy(
        "extra",
        a=(1.0,),
        b_squared=(1.0, -1.0),
        c=(0.0, 1.0),
        form=ExtraForm,
        needs_symmetric=True,
        lambda_min_bound=-1 / 3,
        time_varying_ok=True,
    )
