"""Names of variants cut to the room that there is, so that no two that differ read alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count


def short_names(texts: Sequence[str], most: int) -> list[str]:
    """Texts of at most ``most`` characters; those that differ still do.

    Ends are cut off first, or middles where the ends tell texts apart. Where some would still read alike, all
    of them are told by their values without the keys; what then reads alike is numbered.

    >>> short_names(["lr=0.001, weight_decay=0.05", "lr=0.001, weight_decay=0.2"], 12)
    ['lr=…cay=0.05', 'lr=…ecay=0.2']
    >>> short_names([f"lr={lr}, weight_decay={decay}" for lr in (0.1, 0.2) for decay in (0.5, 0.6)], 12)
    ['0.1, 0.5', '0.1, 0.6', '0.2, 0.5', '0.2, 0.6']
    """
    apart = list(dict.fromkeys(texts))
    chosen = _cut(apart, most)
    if len(set(chosen)) < len(apart):
        values = list(map(_values, apart))
        chosen = _numbered(values, _cut(values, most), most)
    names = dict(zip(apart, chosen, strict=True))
    return [names[text] for text in texts]


def without_end(text: str, most: int) -> str:
    """A text of at most ``most`` characters, its end cut off; empty where nothing of it would be left."""
    if len(text) <= most:
        return text
    return f"{text[: most - 1].rstrip(' ,')}…" if most > 1 else ""


def _cut(texts: Sequence[str], most: int) -> list[str]:
    ends = [without_end(text, most) for text in texts]
    uses = Counter(ends)
    return [
        end if uses[end] == 1 else _without_middle(text, most) for text, end in zip(texts, ends, strict=True)
    ]


def _without_middle(text: str, most: int) -> str:
    """Of a text that is longer, a third from its start and the rest from its end.

    >>> _without_middle("adamw, weight_decay=0.1, lr=0.01", 16)
    'adamw…1, lr=0.01'
    """
    tail = 2 * most // 3
    if len(text) <= most or not tail:
        return text[:most]
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def _values(text: str) -> str:
    """A name without its keys.

    >>> _values("adamw, lr=0.001, weight_decay=0.05")
    'adamw, 0.001, 0.05'
    """
    return ", ".join(part.partition("=")[2] or part for part in text.split(", "))


def _numbered(texts: Sequence[str], cut: Sequence[str], most: int) -> list[str]:
    """What texts were cut to, a number at the end of those that became equal."""
    uses, taken = Counter(cut), set(cut)
    ends = map(" #{}".format, count(1))
    unique = []
    for text, short in zip(texts, cut, strict=True):
        numbered = (f"{without_end(text, most - len(end))}{end}".strip() for end in ends)
        chosen = next(one for one in numbered if one not in taken) if uses[short] > 1 else short
        taken.add(chosen)
        unique.append(chosen)
    return unique
