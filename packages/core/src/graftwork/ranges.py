"""Whether a version lies in the range that a requirement line states.

Nearly every range is ``>=A,<B`` over plain numbers, and is compared here; anything else is left to the
library ``packaging``, whose import alone takes longer than all else that ``graftwork list`` does.
"""

from __future__ import annotations

import re

_PLAIN = re.compile(r"\d+(?:\.\d+)*")
_BOUND = re.compile(rf"(?P<side>>=|<)\s*(?P<version>{_PLAIN.pattern})")


def allows(specifier: str, line: str, installed: str) -> bool:
    """Whether a requirement is met.

    Args:
        specifier: what stands behind the name, ``>=0.2,<0.3`` for instance.
        line: the whole requirement.
        installed: the version that is there.

    >>> allows(">=0.2,<0.3", "graftwork>=0.2,<0.3", "0.2.1"), allows("~=0.3", "graftwork~=0.3", "0.2.1")
    (True, False)
    """
    bounds = [_BOUND.fullmatch(part.strip()) for part in specifier.strip(" ()").split(",")]
    if not _PLAIN.fullmatch(installed) or not all(bounds):
        return _allows_by_library(line, installed)
    version = _numbers(installed)
    return all(
        version >= _numbers(bound["version"])
        if bound["side"] == ">="
        else version < _numbers(bound["version"])
        for bound in bounds
        if bound
    )


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers without zeros at the end: 1.0 is 1."""
    numbers = [int(number) for number in version.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _allows_by_library(line: str, installed: str) -> bool:
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    if requirement.marker and not requirement.marker.evaluate():
        return True
    return requirement.specifier.contains(installed, prereleases=True)
