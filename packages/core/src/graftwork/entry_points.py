"""Which plugins are installed, whatever else is damaged."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata

from graftwork.plugin_code import cause_of
from graftwork.plugins import Plugin

ENTRY_POINT_GROUP = "graftwork"
# What importlib.metadata raises for a file that is no text, or no list of entry points.
DAMAGED = (OSError, ValueError, TypeError)


def installed_entry_points() -> tuple[Iterable[metadata.EntryPoint], list[Plugin]]:
    """The entry points of the group, and a failed plugin for each distribution whose own cannot be read.

    One of those makes ``importlib.metadata.entry_points`` raise for everybody. To go through them one by one
    takes longer: of two with one name the first counts, and the name stands in another file.
    """
    try:
        return metadata.entry_points(group=ENTRY_POINT_GROUP), []
    except DAMAGED:
        return _one_by_one()


def _one_by_one() -> tuple[list[metadata.EntryPoint], list[Plugin]]:
    found: dict[str, list[metadata.EntryPoint]] = {}
    damaged = []
    for distribution in metadata.distributions():
        name, version = "an unknown distribution", "0"
        with suppress(*DAMAGED):
            name, version = distribution.metadata["Name"], distribution.version
        try:
            points = [point for point in distribution.entry_points if point.group == ENTRY_POINT_GROUP]
        except DAMAGED as error:
            cause = f"its entry_points.txt cannot be read: {cause_of(error)}"
            damaged.append(Plugin(name, name, version, "unknown").failed(cause))
        else:
            found.setdefault(name.lower(), points)
    return [point for points in found.values() for point in points], damaged
