"""Any triple of polynomials as it stands: ``s+ = C s - A (step direction) - F``, ``F+ = F + B^2 s+``.

It mixes once per power of W and is the reference that the one-mix forms are tested against, and what runs a
strategy that has no form of its own. Where links fail, exact strategies lose their exactness in this form.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from graftwork_decentral.strategies.form import Exchange, Form, Mean
from graftwork_decentral.strategies.stability import Polynomial


class TripleForm(Form):
    """One buffer, ``dual``, which is F = B E.

    Args:
        like: the variable.
        a, b_squared, c: coefficients, that of W^0 first.
    """

    buffers = ("dual",)
    reads_point = True
    dual: Tensor

    def __init__(self, like: Tensor, a: Polynomial, b_squared: Polynomial, c: Polynomial) -> None:
        super().__init__(like)
        self.a, self.b_squared, self.c = a, b_squared, c

    def combine(self, point: Tensor, moved: Tensor, exchange: Exchange) -> Tensor:
        if self.a == self.c:
            combined = _applied(self.c, "point", moved, exchange)
        else:
            combined = _applied(self.c, "point", point, exchange) + _applied(
                self.a, "move", moved - point, exchange
            )
        following = combined - self.dual
        if any(self.b_squared):
            self.dual += _applied(self.b_squared, "point", following, exchange)
        return following

    def outgoing(self, point: Tensor, moved: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError("a triple takes several rounds, so that it cannot share one")

    def incoming(self, point: Tensor, moved: Tensor, mixed: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError("a triple takes several rounds, so that it cannot share one")

    def after_membership_change(self, mean: Mean) -> None:
        self.dual -= mean(self.dual)


def _applied(coefficients: Polynomial, name: str, power: Tensor, exchange: Exchange) -> Tensor:
    total = coefficients[0] * power
    for coefficient in coefficients[1:]:
        power = exchange({name: power})[name]
        total = total + coefficient * power
    return total
