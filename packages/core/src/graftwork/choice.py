"""A component with its options: what a table of a recipe becomes once it has been checked."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from graftwork.component import Kind
from graftwork.errors import ContractError, GraftworkError
from graftwork.registry import Entry
from graftwork.schema import companion_of


@dataclass(frozen=True, slots=True)
class Choice:
    """A named component and the options that a recipe gave it.

    A parameter annotated ``Choice`` is filled from the recipe: ``model: Choice`` in a task takes the
    ``[model]`` section. ``Annotated[Choice, "optimizer"]`` says the kind where the parameter's name does not.

    Calling it builds the component: ``model(vocab_size=4096)``.

    Args:
        entry: what was chosen.
        kind: the contract that it keeps.
        target: the imported class or function.
        options: for the target, as its signature wants them.
        companion_options: for the target's companion (see :class:`graftwork.Kind`).
        table: name and every option, defaults too, as plain TOML data.
        inlined: whether its options stand in the table of the component that takes it, which then names
            itself in their mistakes.
    """

    entry: Entry
    kind: Kind
    target: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    companion_options: Mapping[str, Any] = field(default_factory=dict)
    table: Mapping[str, Any] = field(default_factory=dict)
    inlined: bool = False

    @property
    def name(self) -> str:
        """The component's short name."""
        return self.entry.component.name

    def __call__(self, *positional: Any, **supplied: Any) -> Any:
        """Build the component.

        Raises:
            GraftworkError: the target refused an option with a ``ValueError``.
            ContractError: what it returned lacks what its kind promises.
        """
        with self._naming_itself():
            built = self.target(*positional, **{**self.options, **supplied})
        missing = ", ".join(name for name in self.kind.attributes if not hasattr(built, name))
        if missing:
            raise ContractError(
                f"{self.entry.component.reference} built a {type(built).__name__} that lacks {missing}; "
                f"the contract of {self.kind.name} is: {self.kind.contract}"
            )
        return built

    def parameters_of(self, model: Any) -> list[Any]:
        """What an optimizer takes of a model: groups by its own ``select_parameters``, or else all trainable
        parameters.

        Args:
            model: a ``torch.nn.Module``.
        """
        select = companion_of(self.target, self.kind)
        if select is None:
            return [parameter for parameter in model.parameters() if parameter.requires_grad]
        with self._naming_itself():
            return list(select(model, **self.companion_options))

    def for_model(self, model: Any, **facts: Any) -> Any:
        """Build an optimizer over a model's trainable parameters.

        The optimizer's own ``select_parameters`` makes the groups where it has one.

        Args:
            model: a ``torch.nn.Module``.
            **facts: what the caller knows of the run (``total_steps``), for those parameters of the optimizer
                that the recipe left open.
        """
        known = inspect.signature(self.target).parameters
        open_facts = {name for name in facts if name in known and self.options.get(name) is None}
        return self(self.parameters_of(model), **{name: facts[name] for name in open_facts})

    @contextmanager
    def _naming_itself(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            if self.inlined:
                raise
            raise GraftworkError(f"{self.entry.component.reference}: {error}") from error
