"""What a reproduction reports: a measured figure beside the published one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a reproduction's table.

    Args:
        quantity: what was measured, with its unit.
        published: the paper's figure, or None where the paper gives none.
        measured: ours.
        note: what a reader must know to compare the two.

    >>> Finding("state of GWT-2 at 60M, GB", published=0.16, measured=0.12).relative_difference
    -0.25
    """

    quantity: str
    published: float | None
    measured: float
    note: str = ""

    @property
    def relative_difference(self) -> float | None:
        """``measured / published - 1``, or None where there is no published figure to divide by."""
        return self.measured / self.published - 1 if self.published else None
