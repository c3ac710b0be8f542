"""The meaning of each parameter, read from a Google-style ``Args:`` section."""

from __future__ import annotations

import inspect
import re
from typing import Any

_SECTION = re.compile(r"^(Args|Arguments|Parameters):\s*$")
_ENTRY = re.compile(r"^(?P<names>\*{0,2}\w+(?:\s*,\s*\w+)*)\s*(?:\([^)]*\))?\s*:\s*(?P<meaning>.*)$")


def parameter_meanings(target: Any) -> dict[str, str]:
    """Map parameter names to their meaning, each as one line.

    A class is read together with its ``__init__``; what neither documents is absent.

    >>> def step(rate):
    ...     '''Move.
    ...
    ...     Args:
    ...         rate: how far,
    ...             in metres.
    ...     '''
    >>> parameter_meanings(step)
    {'rate': 'how far, in metres.'}
    """
    documents = [target, vars(target).get("__init__")] if isinstance(target, type) else [target]
    meanings: dict[str, str] = {}
    for document in documents:
        meanings |= _read_arguments(inspect.getdoc(document) or "")
    return meanings


def summary_line(target: Any) -> str:
    """The first paragraph of a docstring, as one line; of an undocumented target an empty string."""
    return " ".join((inspect.getdoc(target) or "").split("\n\n", 1)[0].split())


def _read_arguments(text: str) -> dict[str, str]:
    lines = iter(text.splitlines())
    if not any(_SECTION.match(line) for line in lines):
        return {}
    meanings: dict[str, str] = {}
    current: list[str] = []
    depth: int | None = None
    for line in lines:
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        if indent == 0:
            break
        depth = indent if depth is None else depth
        entry = _ENTRY.match(line.strip())
        if indent == depth and entry:
            current = [name.strip("* ") for name in entry["names"].split(",")]
            meanings.update(dict.fromkeys(current, entry["meaning"].strip()))
        else:
            for name in current:
                meanings[name] = f"{meanings[name]} {line.strip()}".strip()
    return meanings
