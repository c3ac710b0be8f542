"""The one way in which templates are filled: everything is escaped, what no reader would see too, and a
missing name is an error."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from graftwork.readable import readable


@cache
def templates(package: str) -> Environment:
    """The templates that lie beside a package's modules.

    Args:
        package: its full name, ``graftwork_trainer.report`` for instance.
    """
    return Environment(
        loader=PackageLoader(package, package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    """A text as a reader sees it; markup was made of such ones."""
    return readable(value, lines=True) if type(value) is str else value
