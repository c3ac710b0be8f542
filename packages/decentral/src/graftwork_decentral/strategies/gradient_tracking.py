"""Gradient tracking in its three orders: a tracker t follows the mean direction over agents.

Its mean equals the mean direction at every step, from the first on (derived here from the triples)::

    semi-ATC   x+ = mix(x - step t);    t+ = mix(t) + (g+ - g)      two vectors, one round
    ATC        x+ = mix(x - step t);    t+ = mix(t + (g+ - g))      two vectors, two rounds
    non-ATC    x+ = mix(x) - step t;    t+ = mix(t) + (g+ - g)      two vectors, one round (DIGing)

The difference is taken before it is added: ``(mix(t) + g+) - g`` rounds twenty times worse.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from graftwork_decentral.strategies.form import Exchange, Form, Mean
from graftwork_decentral.strategies.strategy import Strategy


class TrackingForm(Form):
    """Semi-ATC; ``tracked`` is the mixed tracker of the step before, ``direction`` the one it had."""

    buffers = ("tracked", "direction")
    tracked: Tensor
    direction: Tensor

    def prepare(self, direction: Tensor, exchange: Exchange) -> Tensor:
        tracker = self.tracked + (direction - self.direction)
        self.direction.copy_(direction)
        self.tracked.copy_(tracker)
        return tracker.to(direction.dtype)

    def outgoing(self, point: Tensor, moved: Tensor) -> dict[str, Tensor]:
        return {"point": moved, "tracker": self.tracked}

    def incoming(self, point: Tensor, moved: Tensor, mixed: Mapping[str, Tensor]) -> Tensor:
        self.tracked.copy_(mixed["tracker"])
        return mixed["point"]

    def after_membership_change(self, mean: Mean) -> None:
        self.tracked.copy_(self.direction)


class CombinedTrackingForm(TrackingForm):
    """ATC: the tracker is mixed before it is used."""

    exchanges_first = True

    def prepare(self, direction: Tensor, exchange: Exchange) -> Tensor:
        changed = self.tracked + (direction - self.direction)
        mixed = exchange({"tracker": changed})["tracker"]
        # Not before the exchange, which may fail: the step is then repeated from this state.
        self.direction.copy_(direction)
        self.tracked.copy_(mixed)
        return self.tracked.to(direction.dtype)

    def outgoing(self, point: Tensor, moved: Tensor) -> dict[str, Tensor]:
        return {"point": moved}

    def incoming(self, point: Tensor, moved: Tensor, mixed: Mapping[str, Tensor]) -> Tensor:
        return mixed["point"]


class UncombinedTrackingForm(TrackingForm):
    """Non-ATC: the move is made after the mixing."""

    reads_point = True

    def outgoing(self, point: Tensor, moved: Tensor) -> dict[str, Tensor]:
        return {"point": point, "tracker": self.tracked}

    def incoming(self, point: Tensor, moved: Tensor, mixed: Mapping[str, Tensor]) -> Tensor:
        self.tracked.copy_(mixed["tracker"])
        return mixed["point"] + (moved - point)


def gt_semi_atc() -> Strategy:
    """Gradient tracking, the point combined and the tracker not: one round a step.

    >>> gt_semi_atc().tracks
    True
    """
    return _tracking("gt-semi-atc", (0.0, 1.0), TrackingForm)


def gt_atc() -> Strategy:
    """Gradient tracking, point and tracker combined (adapt-then-combine): two rounds a step.

    >>> gt_atc().a
    (0.0, 0.0, 1.0)
    """
    return _tracking("gt-atc", (0.0, 0.0, 1.0), CombinedTrackingForm)


def gt_non_atc() -> Strategy:
    """Gradient tracking as in DIGing (arXiv:1607.03218): nothing combined after the move.

    >>> gt_non_atc().vectors_per_step
    2
    """
    return _tracking("gt-non-atc", (1.0,), UncombinedTrackingForm)


def _tracking(name: str, a: tuple[float, ...], form: type[TrackingForm]) -> Strategy:
    return Strategy(
        name,
        a=a,
        b_squared=(1.0, -2.0, 1.0),
        c=(0.0, 0.0, 1.0),
        form=form,
        time_varying_ok=True,
        vectors_per_step=2,
        tracks=True,
    )
