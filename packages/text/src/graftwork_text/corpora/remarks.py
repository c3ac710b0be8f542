"""What the reader of a corpus found that its owner should know: told once, counted in the run's facts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remark:
    """One finding.

    Args:
        fact: its name among the facts of a run's data, which have it only where there is something to count.
        count: how many there are, at least one.
        told: a sentence without a full stop, to stand after the corpus's name.
    """

    fact: str
    count: int
    told: str


def counted(remarks: Iterable[Remark]) -> dict[str, int]:
    """The facts of some remarks, those of one name added up.

    >>> counted([Remark("repeated_rows", 2, "2 rows ..."), Remark("repeated_rows", 1, "1 row ...")])
    {'repeated_rows': 3}
    """
    facts: dict[str, int] = {}
    for remark in remarks:
        facts[remark.fact] = facts.get(remark.fact, 0) + remark.count
    return facts
