"""How labels are written, and which of the ways are one class.

White space around a label is none of it. ``1.0``, which pandas writes once a label was missing, is ``1``,
unless fractions beside it say that labels are measures. Booleans that are written in several ways are
``True`` and ``False``. What differs in case or inner white space stays apart, and is said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from graftwork_text.corpora.remarks import Remark

_WHOLE = re.compile(r"(-?\d+)\.0+", re.ASCII)
_FRACTION = re.compile(r"-?\d*\.\d*[1-9]\d*", re.ASCII)
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
    measures = any(map(_FRACTION.fullmatch, found))
    truths = {label for label in found if label.casefold() in _TRUTHS}
    several_ways = len({label.casefold() for label in truths}) < len(truths)

    def name(label: str) -> str:
        if (whole := _WHOLE.fullmatch(label)) and (not measures or whole[1] in found):
            return whole[1].removeprefix("-") if not whole[1].strip("-0") else whole[1]
        return label.capitalize() if several_ways and label in truths else label

    return {label: name(plain) for label, plain in trimmed.items()}


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Numbers by size, other names by alphabet.

    >>> in_order(["10", "9", "-1"]), in_order(["10", "9", "b"])
    (('-1', '9', '10'), ('10', '9', 'b'))
    """
    found = sorted(names)
    numbers = all(name.removeprefix("-").isdecimal() for name in found)
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
