"""What some components need beyond this package's own requirements; imports no torch."""

from __future__ import annotations

from graftwork import Extra

REPRODUCE = Extra("graftwork-decentral[reproduce]", ("sklearn", "matplotlib"))
FIGURES = Extra("graftwork-decentral[reproduce]", ("matplotlib",))
DIGITS = Extra("graftwork-decentral[reproduce]", ("sklearn",), when="data = 'digits'")
PICTURES = Extra("graftwork-decentral[images]", ("PIL",), when="data = 'folder'")

_OF_DATA = {"digits": DIGITS, "folder": PICTURES}


def require_for_data(data: str) -> None:
    """Refuse data that cannot be read here.

    Args:
        data: as tasks of images name it.

    Raises:
        MissingExtraError: what reads it is not installed.
    """
    if data in _OF_DATA:
        _OF_DATA[data].require()
