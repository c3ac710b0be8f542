"""A strategy: how agents bring their values together while each moves by its own direction.

Every one is a primal-dual rule with three polynomials A, B^2, C in the mixing matrix W (arXiv:2411.14166)::

    s+ = C s - step A direction - F,     F+ = F + B^2 s+,     F = 0 at the start

It is data. How it is carried out with one mixing a step is its :class:`~.form.Form`; without one of its own
a strategy runs as it stands here (:class:`~.triple.TripleForm`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from graftwork import GraftworkError
from graftwork_decentral.strategies.form import Form
from graftwork_decentral.strategies.stability import Polynomial, largest_stable_step, stable_for_small_steps
from graftwork_decentral.strategies.triple import TripleForm
from graftwork_decentral.topology.agreement import (
    is_judged_by_its_turns,
    lasting_disagreement,
    validate_agreement,
    validate_connected,
)
from graftwork_decentral.topology.topology import GraphSequence, Topology
from graftwork_decentral.topology.weights import lazy as lazy_weights

Lazy = Literal["auto", "never"]
_MARGIN = 1e-3


@dataclass(frozen=True, slots=True)
class Strategy:
    """The coefficients of a rule, and what it asks of a graph.

    Args:
        name: as registered.
        a: coefficients of A, that of W^0 first.
        b_squared: of B^2; all zero where heterogeneity is not corrected.
        c: of C.
        form: makes the state of one variable, given a tensor like it; none for the rule as it stands.
        needs_symmetric: whether W must be symmetric.
        lambda_min_bound: what every eigenvalue of W must lie above.
        time_varying_ok: whether W may change from step to step.
        vectors_per_step: how many vectors an agent sends a neighbour in a step.
        tracks: whether the direction is replaced by a tracker of the mean direction, which an adaptive
            optimizer can then scale; other corrections act on the point after the move.

    Raises:
        ValueError: A(1) or C(1) is not 1, or B^2(1) is not 0: the mean over agents would not follow the mean
            direction.

    >>> Strategy("diffusion", a=(0.0, 1.0), b_squared=(0.0,), c=(0.0, 1.0)).corrects_heterogeneity
    False
    """

    name: str
    a: Polynomial
    b_squared: Polynomial
    c: Polynomial
    form: Callable[[Tensor], Form] | None = None
    needs_symmetric: bool = False
    lambda_min_bound: float = -1.0
    time_varying_ok: bool = False
    vectors_per_step: int = 1
    tracks: bool = False

    def __post_init__(self) -> None:
        for what, coefficients, wanted in (
            ("a", self.a, 1.0),
            ("c", self.c, 1.0),
            ("b_squared", self.b_squared, 0.0),
        ):
            if abs(sum(coefficients) - wanted) > 1e-12:
                raise ValueError(
                    f"strategy {self.name!r}: the coefficients of {what} must sum to {wanted:g}, so that the "
                    f"mean over agents follows the mean direction; they sum to {sum(coefficients):g}"
                )

    @property
    def corrects_heterogeneity(self) -> bool:
        """Whether agents with different data reach the minimizer of their mean."""
        return any(self.b_squared)

    def start(self, like: Tensor) -> Form:
        """Return the state of one variable.

        Args:
            like: ``[agents here, parameters]``, the variable.
        """
        return self.form(like) if self.form is not None else TripleForm(like, self.a, self.b_squared, self.c)

    def largest_step(self, topology: Topology) -> float:
        """Return the bound on step times largest curvature below which a common quadratic is stable.

        Args:
            topology: fixed.
        """
        return largest_stable_step(self.a, self.b_squared, self.c, topology.spectrum.others)

    def validate(self, graphs: GraphSequence, step_times_smoothness: float | None = None) -> None:
        """Refuse a graph on which this strategy diverges or converges to something else.

        Args:
            graphs: of every step.
            step_times_smoothness: step size times the largest curvature, where it is known.

        Raises:
            GraftworkError: agents never agree on it, it must be symmetric and is not, has an eigenvalue that
                is too low, changes with the step, or the step is too large.
        """
        if self.needs_symmetric and not graphs.symmetric:
            raise GraftworkError(
                f"strategy {self.name!r} needs a symmetric mixing matrix and {graphs.name!r} has none; "
                "choose an undirected topology, or gt-atc, gt-semi-atc or diffusion, which take any doubly "
                "stochastic one"
            )
        if graphs.varies and not self.time_varying_ok:
            raise GraftworkError(
                f"strategy {self.name!r} needs a fixed graph and {graphs.name!r} changes with the step; "
                "choose a fixed topology, or gt-atc, gt-semi-atc or diffusion"
            )
        validate_agreement(graphs)
        if self._too_low(graphs):
            raise GraftworkError(
                f"strategy {self.name!r} diverges on {graphs.name!r}: its mixing matrix has the eigenvalue "
                f"{graphs.lambda_min:.6g}, and all must lie above {self.lambda_min_bound:.6g} by "
                f"{_MARGIN:g}; use lazy weights (topology.lazy = true, or lazy = 'auto' where the strategy "
                "is used), or a gt strategy"
            )
        first = graphs.at(0)
        if (
            not graphs.varies
            and self.form is None
            and not stable_for_small_steps(self.a, self.b_squared, self.c, first.spectrum.others)
        ):
            raise GraftworkError(
                f"strategy {self.name!r} diverges on {graphs.name!r} however small the step: a mode "
                "of s^2 - (1 + C - B^2) s + C lies outside the unit circle; use lazy weights "
                "(topology.lazy = true)"
            )
        if step_times_smoothness is not None and not graphs.varies:
            bound = self.largest_step(first)
            if step_times_smoothness >= bound:
                raise GraftworkError(
                    f"strategy {self.name!r} on {graphs.name!r} is unstable: step size times the largest "
                    f"curvature must be below {bound:.6g}, and is {step_times_smoothness:.6g}"
                )

    def suited(self, graphs: GraphSequence) -> GraphSequence:
        """Return the graphs, with lazy weights where this strategy would diverge on them as they are.

        Args:
            graphs: of every step.

        Raises:
            GraftworkError: as :meth:`validate`, for what lazy weights do not mend.

        >>> from graftwork_decentral.strategies import exact_diffusion
        >>> from graftwork_decentral.topology import ring
        >>> exact_diffusion().suited(ring(8)).name
        'lazy ring'
        """
        validate_connected(graphs)
        diverges = self._too_low(graphs) or (self.form is None and graphs.lambda_min < 0)
        if not graphs.varies and (diverges or lasting_disagreement(graphs) is not None):
            fixed = graphs.at(0)
            graphs = Topology(f"lazy {fixed.name}", lazy_weights(fixed.mixing_matrix))
        self.validate(graphs)
        return graphs

    def _too_low(self, graphs: GraphSequence) -> bool:
        # One that takes turns with others may swap what agents hold: all of them are to bring them together.
        if self.lambda_min_bound <= -1 and is_judged_by_its_turns(graphs):
            return False
        # Metropolis weights on an even ring have exactly -1/3, and within 5e-4 of it once they are rounded.
        return graphs.lambda_min <= self.lambda_min_bound + _MARGIN
