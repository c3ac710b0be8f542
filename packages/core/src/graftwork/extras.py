"""What a component needs beyond its package's own requirements, and whether it is installed.

Nothing is imported to find that out.
"""

from __future__ import annotations

from dataclasses import dataclass

from graftwork.errors import MissingExtraError


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional dependency of a component.

    Args:
        requirement: what to install, ``graftwork-decentral[reproduce]`` for instance.
        modules: import names of what it brings and the component imports.
        when: for which options it is needed, ``data = 'digits'`` for instance; empty where it always is. An
            extra that is always needed is asked for before the component is imported; one that depends on
            options by the component itself, with :meth:`require`, when it is built.

    >>> Extra("graftwork-decentral[reproduce]", ("json", "no_such_module")).missing
    ('no_such_module',)
    """

    requirement: str
    modules: tuple[str, ...]
    when: str = ""

    def __post_init__(self) -> None:
        modules: object = self.modules
        if not isinstance(modules, tuple) or not all(str(module).isidentifier() for module in modules):
            raise ValueError(f"modules of an Extra must be a tuple of top-level names, got {self.modules!r}")

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed."""
        from importlib.util import find_spec

        return tuple(module for module in self.modules if find_spec(module) is None)

    @property
    def description(self) -> str:
        """What to install, when, and whether it is there already."""
        when = f" for {self.when}" if self.when else ""
        return f"needs {self.requirement}{when}{'' if not self.missing else ' (not installed)'}"

    def require(self, what: str = "") -> None:
        """Refuse to go on where something is missing.

        Args:
            what: who needs it; the options of ``when`` where it is left out.

        Raises:
            MissingExtraError: one sentence with the command that installs it.
        """
        if self.missing:
            raise MissingExtraError(
                f"{what or self.when} needs {' and '.join(self.missing)}, not installed here: "
                f"pip install '{self.requirement}'"
            )
