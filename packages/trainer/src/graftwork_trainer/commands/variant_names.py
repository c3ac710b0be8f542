"""What the variants of a comparison are called: names of directories, and different for different values.

A name shows the values: ``gwt-adamw``, ``lr-0.001``. Where it cannot show them as they are (a path, a list, a
long text), or where two variants would be called the same, be it only for a file system that takes ``A`` and
``a`` for one, digits of a digest of the values tell them apart.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from graftwork import Override
from graftwork.catalogue import short_name
from graftwork.toml import dumps_value

# With digest, seed and suffix far below the 255 bytes that file systems take.
_LONGEST = 100
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")

Variant = Sequence[Override]


def variant_names(variants: Sequence[Variant]) -> list[str]:
    """Name variants of a comparison.

    Args:
        variants: the overrides of each, of the same keys in the same order; no two alike.

    Returns:
        A name for each. It depends on the others only where it would collide with one, so that a comparison
        that gains a value finds its finished runs.
    """
    plain = [_values(variant) for variant in variants]
    marked = [_marked(variant, text) for variant, text in zip(variants, plain, strict=True)]
    names = [text if _is_name(text) else other for text, other in zip(plain, marked, strict=True)]
    uses = Counter(name.lower() for name in names)
    return [name if uses[name.lower()] == 1 else other for name, other in zip(names, marked, strict=True)]


def _values(variant: Variant) -> str:
    """Components by name alone, options with the last part of their key, all of it where two share that."""
    uses = Counter(override.path[-1] for override in variant)
    parts = []
    for override in variant:
        value = override.value if isinstance(override.value, str) else dumps_value(override.value)
        key = override.path[-1] if uses[override.path[-1]] == 1 else override.key
        parts.append(short_name(value) if override.path[-1] == "name" else f"{key}-{value}")
    return "-".join(parts)


def _is_name(text: str) -> bool:
    return text == _readable(text) != ""


def _readable(text: str) -> str:
    return _NOT_IN_NAMES.sub("-", text)[:_LONGEST].strip("-.")


def _marked(variant: Variant, text: str) -> str:
    """As much as can be shown, and digits that follow from keys and values."""
    return "-".join(filter(None, (_readable(text), _digest(variant))))


def _digest(variant: Variant) -> str:
    # As TOML: "1" is not 1.
    lines = "\n".join(f"{override.key} = {dumps_value(override.value)}" for override in variant)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()[:8]
