"""What a reproduction reports: a measured figure, the one that is expected, and where that one comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a reproduction's table.

    Args:
        quantity: what was measured, with its unit.
        published: the paper's figure, or None where the paper gives none. Nothing else belongs here.
        measured: ours.
        note: what a reader must know to compare the two.
        expected: where nothing is published, the figure that should come out all the same, or None.
        source: in a word or two, where ``expected`` comes from: "computed" (by a formula or an exact model),
            "by hand", "earlier run". Required with ``expected``, and given with it alone.

    Raises:
        ValueError: ``published`` and ``expected`` are both given, or only one of ``expected`` and ``source``.

    >>> Finding("state of GWT-2 at 60M, GB", published=0.16, measured=0.12).relative_difference
    -0.25
    >>> Finding("f at the end", None, 0.75, expected=0.75, source="computed").origin
    'computed'
    """

    quantity: str
    published: float | None
    measured: float
    note: str = ""
    expected: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.published is not None and self.expected is not None:
            raise ValueError(f"{self.quantity}: give published or expected, not both")
        if (self.expected is None) != (not self.source):
            raise ValueError(
                f"{self.quantity}: expected and source go together, got {self.expected!r} and {self.source!r}"
            )

    @property
    def reference(self) -> float | None:
        """The figure that ``measured`` stands beside, published or expected, or None."""
        return self.expected if self.published is None else self.published

    @property
    def origin(self) -> str:
        """Where ``reference`` comes from: "published", ``source``, or "" where there is none."""
        return self.source if self.published is None else "published"

    @property
    def relative_difference(self) -> float | None:
        """``measured / reference - 1``, or None where there is nothing to divide by."""
        return self.measured / self.reference - 1 if self.reference else None
