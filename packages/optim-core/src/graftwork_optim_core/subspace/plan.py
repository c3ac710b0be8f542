"""How a weight is updated: its host, its transform, and the two numbers between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from graftwork_optim_core.common.parameters import matrix_shape
from graftwork_optim_core.subspace.host import UpdateHost
from graftwork_optim_core.subspace.identity import IdentityTransform
from graftwork_optim_core.subspace.pairing import HOSTS, TRANSFORMS, build
from graftwork_optim_core.subspace.transform import GradientTransform


@dataclass(frozen=True, slots=True)
class Plan:
    """The rule for some weights of a group.

    Args:
        host: keeps averages of the coarse gradient.
        transform: makes the coarse gradient and the update.
        scale: of the update.
        norm_growth_limit: by what factor a direction's norm may grow from step to step; none for any.
    """

    host: UpdateHost
    transform: GradientTransform
    scale: float = 1.0
    norm_growth_limit: float | None = None

    @property
    def limited(self) -> bool:
        """Whether the growth of directions is limited."""
        return self.norm_growth_limit is not None

    @property
    def needs_norm(self) -> bool:
        """Whether the norm of the whole direction must be known before the weight moves."""
        return self.limited or self.host.measures

    @property
    def row_wise(self) -> bool:
        """Whether rows are independent but for that norm."""
        return self.host.row_wise and self.transform.row_wise

    @property
    def stackable(self) -> bool:
        """Whether rows of several weights may be taken as one matrix."""
        host = type(self.host)
        own_rate = host.rate is not UpdateHost.rate or self.host.finishes
        return self.row_wise and not self.host.measures and not own_rate and host.load is UpdateHost.load

    def column_block(self, parameter: Tensor) -> int:
        """How many columns of a parameter must lie in one process; 0 if all.

        Of a vector every host keeps an average an element, and what it sums it sums over processes.
        """
        apart = self.host.elementwise or parameter.ndim < 2
        return self.transform.column_block if apart else 0


class GroupPlans(NamedTuple):
    """The rules of one parameter group."""

    transformed: Plan
    untransformed: Plan
    plain: Plan
    all_plain: bool

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> GroupPlans:
        """Build the rules that a group's options ask for.

        Raises:
            ValueError: an option of the host or of the transform is missing or out of its range.
            GraftworkError: no such host or transform.
        """
        host: UpdateHost = build(HOSTS, options["host"], options)
        named = options["plain_host"]
        plain_host: UpdateHost = host if named is None else build(HOSTS, named, options)
        transform: GradientTransform = build(TRANSFORMS, options["transform"], options)
        transformed = Plan(host, transform, options["scale"], options["norm_growth_limit"])
        identity = IdentityTransform()
        untransformed = Plan(host, identity, transformed.scale, transformed.norm_growth_limit)
        return cls(transformed, untransformed, Plan(plain_host, identity), bool(options["plain"]))

    def plan_of(self, parameter: Tensor) -> Plan:
        """Return the rule for a parameter; what must be a matrix and is none makes the plain step."""
        if self.all_plain or self.lacks_dimensions(parameter):
            return self.plain
        whole = self.transformed.transform.is_identity(matrix_shape(parameter))
        return self.untransformed if whole else self.transformed

    def lacks_dimensions(self, parameter: Tensor) -> bool:
        """Whether a parameter has fewer dimensions than the transformed rule needs."""
        matrices = self.transformed.host.matrices_only or self.transformed.transform.matrices_only
        return parameter.ndim < (2 if matrices else 1)
