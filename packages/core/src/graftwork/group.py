"""A dataclass as a group of options: a parameter whose fields stand in the table of the component itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any


@dataclass(frozen=True, slots=True)
class Group:
    """One parameter annotated with a dataclass.

    Args:
        parameter: its name in the signature.
        type: the dataclass.
        default: an instance, whose values are the options' defaults; ``inspect.Parameter.empty`` for the
            dataclass' own.
    """

    parameter: str
    type: Any
    default: Any

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of its options."""
        return tuple(field.name for field in dataclasses.fields(self.type) if field.init)

    def default_of(self, field: str) -> Any:
        """The default of one of its options, ``inspect.Parameter.empty`` where it has none."""
        if self.default is not Parameter.empty:
            return getattr(self.default, field)
        known = next(one for one in dataclasses.fields(self.type) if one.name == field)
        if known.default is not dataclasses.MISSING:
            return known.default
        if known.default_factory is not dataclasses.MISSING:
            return known.default_factory()
        return Parameter.empty

    def taken_from(self, options: dict[str, Any]) -> Mapping[str, Any]:
        """Take the group's options out of flat ones; return the argument, if there is one to give.

        Raises:
            ValueError: the dataclass refuses a value.
        """
        own = {name: options.pop(name) for name in self.fields if name in options}
        if self.default is Parameter.empty:
            return {self.parameter: self.type(**own)}
        return {self.parameter: dataclasses.replace(self.default, **own)} if own else {}
