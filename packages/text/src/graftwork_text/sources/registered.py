"""Looking up by name what plugins register, where an option takes a name or a path."""

from __future__ import annotations

from collections.abc import Sequence

from graftwork import Choice, UnknownNameError, choose, get_registry
from graftwork.errors import did_you_mean


def registered(kind: str, name: str) -> Choice | None:
    """The component of a name; None where no plugin has it, since it may be a path.

    Args:
        kind: of the component.
        name: ``name`` or ``plugin:name``.

    Raises:
        GraftworkError: two plugins have it, or it cannot be imported or lacks what it needs.

    >>> registered("corpus", "bbc-news").entry.full_reference, registered("corpus", "my/folder")
    ('corpus/text:bbc-news', None)
    """
    try:
        get_registry().find_in(kind, name)
    except UnknownNameError:
        return None
    return choose(kind, name)


def names_of(kind: str) -> tuple[str, ...]:
    """Every registered name of a kind, with its plugin where two have it."""
    registry = get_registry()
    contested = registry.contested()
    return tuple(
        f"{entry.plugin.name}:{entry.component.name}"
        if entry.component.reference in contested
        else entry.component.name
        for entry in registry.entries(kind)
    )


def near(name: str, kind: str, names: Sequence[str]) -> str:
    """What was probably meant, as the end of a question, or nothing.

    Args:
        name: as it was given.
        kind: of the component.
        names: those that would do here.

    >>> near("bbc-new", "corpus", ["bbc-news"]), near("trainer:bbc-news", "corpus", ["bbc-news"])
    (", did you mean 'bbc-news'?", ", did you mean 'text:bbc-news'?")
    """
    if name in names:
        return ""
    if ":" not in name:
        return did_you_mean(name, names)
    entries = get_registry().entries(kind)
    full = [f"{entry.plugin.name}:{entry.component.name}" for entry in entries]
    return did_you_mean(name, [one for one in full if one in names or one.partition(":")[2] in names])
