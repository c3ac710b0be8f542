"""How labels are written, and which of the ways are one class.

White space around a label is none of it. ``1.0``, which pandas writes once a label was missing, is ``1``, as
are ``1.`` and numpy's ``1.000000000000000000e+00``, unless fractions beside it say that labels are measures.
Booleans that are written in several ways are ``True`` and ``False``. What differs in case or inner white
space stays apart, and is said, as is what looks like a missing value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from graftwork_text.corpora.remarks import Remark

_WHOLE = re.compile(r"(-?\d+)\.0*", re.ASCII)
# As numpy.savetxt writes a number; a letter E without a point before it may be one of a name.
_WITH_EXPONENT = re.compile(r"-?\d\.\d+e[+-]\d\d", re.ASCII)
_FRACTION = re.compile(r"-?\d*\.\d*[1-9]\d*", re.ASCII)
# What pandas takes for one, in any case.
_MISSING = frozenset(("nan", "-nan", "na", "n/a", "none", "null", "<na>", "#n/a", "#na", "#n/a n/a", "nat"))
# Python makes no number of more digits.
_MOST_DIGITS = 4_000
_TRUTHS = ("true", "false")
_MOST_SHOWN = 3


def written_label(value: Any) -> str | None:
    """A label as it is written: text, a whole number or a boolean; nothing where it is neither.

    >>> [written_label(value) for value in ("a", 1, 1.0, -0.0, True, 0.5, None)]
    ['a', '1', '1', '0', 'True', None, None]
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int) else None


def class_names(written: Iterable[str]) -> dict[str, str]:
    """The name of the class of each label of some data.

    >>> class_names(["1", "1.0", "2.0", " x "])
    {'1': '1', '1.0': '1', '2.0': '2', ' x ': 'x'}
    >>> class_names(["0.5", "1.0"])
    {'0.5': '0.5', '1.0': '1.0'}
    >>> class_names(["true", "True", "FALSE"])
    {'true': 'True', 'True': 'True', 'FALSE': 'False'}
    """
    trimmed = {label: label.strip() for label in written}
    found = set(trimmed.values())
    whole = {label: number for label in found if (number := _whole(label)) is not None}
    measures = any(
        _FRACTION.fullmatch(label) or (_WITH_EXPONENT.fullmatch(label) and label not in whole)
        for label in found
    )
    truths = {label for label in found if label.casefold() in _TRUTHS}
    several_ways = len({label.casefold() for label in truths}) < len(truths)

    def name(label: str) -> str:
        if label in whole and (not measures or whole[label] in found):
            number = whole[label]
            return number.removeprefix("-") if not number.strip("-0") else number
        return label.capitalize() if several_ways and label in truths else label

    return {label: name(plain) for label, plain in trimmed.items()}


def _whole(label: str) -> str | None:
    """The digits of a whole number that is written with a point."""
    if matched := _WHOLE.fullmatch(label):
        return matched[1]
    if _WITH_EXPONENT.fullmatch(label):
        number = Decimal(label)
        return str(int(number)) if number == number.to_integral_value() else None
    return None


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Numbers by size, other names by alphabet, as are numbers of thousands of digits.

    >>> in_order(["10", "9", "-1"]), in_order(["10", "9", "b"])
    (('-1', '9', '10'), ('10', '9', 'b'))
    """
    found = sorted(names)
    numbers = all(len(name) <= _MOST_DIGITS and name.removeprefix("-").isdecimal() for name in found)
    return tuple(sorted(found, key=int) if numbers else found)


def remarks_on(counts: Mapping[str, int], names: Mapping[str, str]) -> list[Remark]:
    """What is to be said of the ways in which labels are written.

    Args:
        counts: rows by label as it is written.
        names: of the classes, by the same.
    """
    by_class: dict[str, dict[str, int]] = {}
    by_likeness: dict[str, dict[str, int]] = {}
    for label, name in names.items():
        by_class.setdefault(name, {})[label] = counts[label]
        of_likeness = by_likeness.setdefault(_likeness(name), {})
        of_likeness[name] = of_likeness.get(name, 0) + counts[label]
    several = {name: rows for name, rows in by_class.items() if len(rows) > 1}
    alike = [rows for rows in by_likeness.values() if len(rows) > 1]
    remarks = []
    if missing := {label: counts[label] for label in counts if label.strip().casefold() in _MISSING}:
        said = f"label(s) {_shown(missing)} look like a missing value, and are classes like any other"
        remarks.append(Remark("labels_like_missing_values", len(missing), said))
    if several:
        told = [f"label {name!r} is written {_shown(rows)}" for name, rows in several.items()]
        remarks.append(
            Remark("labels_written_in_several_ways", len(several), f"{_first(told)}: read as one class each")
        )
    if alike:
        told = [f"labels {_shown(rows)}" for rows in alike]
        remarks.append(
            Remark(
                "labels_alike",
                sum(map(len, alike)),
                f"{_first(told)} differ in case or white space alone, and are classes of their own",
            )
        )
    return remarks


def _likeness(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _shown(rows: Mapping[str, int]) -> str:
    by_count = sorted(rows.items(), key=lambda row: (-row[1], row[0]))
    return " and ".join(f"{label!r:.60} ({count} row{'s' * (count > 1)})" for label, count in by_count)


def _first(told: list[str]) -> str:
    further = [f"{len(told) - _MOST_SHOWN} more"] if len(told) > _MOST_SHOWN else []
    return "; ".join([*told[:_MOST_SHOWN], *further])
