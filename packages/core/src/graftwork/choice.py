"""A component with its options: what a table of a recipe becomes once it has been checked."""

from __future__ import annotations

import inspect
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any

from graftwork.component import Kind
from graftwork.errors import ContractError, GraftworkError, OptionError, with_article
from graftwork.group import Group
from graftwork.plugin_code import cause_of, text_of
from graftwork.registry import Entry
from graftwork.weight_decay import combined, split_by_decay

# What the constructors of torch's optimizers call their options.
_TORCH_SAYS = {"lr": "learning rate", "eps": "epsilon", "betas": "beta parameter"}


def _beginning(word: str) -> str:
    """A pattern of what may stand before the name of an option: anything, but not before a plain word."""
    return "" if "_" in word or " " in word else r"^\W?(?:Invalid )?"


class Supplies(tuple[str, ...]):
    """What the taker of a component gives it, in the annotation of the parameter that takes it.

    ``model: Annotated[Choice, Supplies("vocab_size")]`` in a task: a recipe whose model takes no
    ``vocab_size``, or wants something else, is refused before anything is built.
    """

    __slots__ = ()

    def __new__(cls, *facts: str) -> Supplies:
        return super().__new__(cls, facts)


@dataclass(frozen=True, slots=True)
class Shorthand:
    """What a plain text stands for in place of a component: one, with the text as an option of it.

    With ``model: Annotated[Choice | str, Shorthand("pretrained", "weights")] = "minilm"`` in a task,
    ``task.model = "minilm"`` of a recipe is ``task.model = {name = "pretrained", weights = "minilm"}``. A
    section ``[model]`` names a component as ever.

    Args:
        component: its name, of the plugin that says so or of any other.
        option: of it, which takes text.
    """

    component: str
    option: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A named component and the options that a recipe gave it.

    A parameter annotated ``Choice`` is filled from the recipe: ``model: Choice`` in a task takes the
    ``[model]`` section. ``Annotated[Choice, "optimizer"]`` says the kind where the parameter's name does not.

    ``Annotated[Sequence[Choice | str], "callback"]`` takes a list of them.

    Calling it builds the component: ``model(vocab_size=4096)``.

    Args:
        entry: what was chosen.
        kind: the contract that it keeps.
        target: the imported class or function.
        options: for the target, by name; those of a group lie among the others.
        companion_options: for the target's companion (see :class:`graftwork.Kind`).
        table: name and every option, defaults too, as plain TOML data.
        groups: the target's parameters that gather options in a dataclass.
        places: option to where a recipe says it, and "" to where it says the component, for messages.
    """

    entry: Entry
    kind: Kind
    target: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    companion_options: Mapping[str, Any] = field(default_factory=dict)
    table: Mapping[str, Any] = field(default_factory=dict)
    groups: Sequence[Group] = ()
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The component's short name."""
        return self.entry.component.name

    def with_inner(self) -> Iterator[Choice]:
        """This choice and those that it takes, each before its own."""
        yield self
        for value in self.options.values():
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, Choice):
                    yield from inner.with_inner()

    def __call__(self, *positional: Any, **supplied: Any) -> Any:
        """Build the component.

        Raises:
            OptionError: the target refused an option with a ``ValueError``.
            GraftworkError: it asked the process to exit.
            ContractError: what it returned lacks what its kind promises, or its signature does not take what
                the caller supplies.
        """
        arguments = dict(self.options)
        with self._naming_itself():
            for group in self.groups:
                arguments |= group.taken_from(arguments)
            arguments |= supplied
            self._check_signature(positional, arguments)
            built = self.target(*positional, **arguments)
        if missing := self.kind.lacking(built):
            raise ContractError(
                f"{self.entry.component.reference} built {with_article(type(built).__name__)} that lacks "
                f"{', '.join(missing)}; the contract of {self.kind.name} is: {self.kind.contract}"
            )
        return built

    def refusals(self, *positional: Any, **supplied: Any) -> list[OptionError]:
        """What the component would refuse to be built with, each with those before it at their defaults.

        What else goes wrong in its code is not told: it is no option that is wrong.
        """
        refused: list[OptionError] = []
        options = dict(self.options)
        while True:
            try:
                with redirect_stdout(io.StringIO()), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    replace(self, options=options)(*positional, **supplied)
            except OptionError as error:
                if not refused or error.option in options:  # what is left out is no further mistake
                    refused.append(error)
                if options.pop(error.option, None) is None:
                    return refused
            except KeyboardInterrupt:
                raise
            except BaseException:
                return refused
            else:
                return refused

    def parameters_of(self, model: Any, groups: Sequence[Mapping[str, Any]] | None = None) -> list[Any]:
        """What an optimizer takes of a model: parameters, or groups of them.

        Groups are made by the optimizer's own ``select_parameters`` where it has one, by the task where it
        gives some, and by the rule of :mod:`graftwork.weight_decay` where the optimizer decays weights.

        Args:
            model: a ``torch.nn.Module``.
            groups: of the task, with settings that go over the optimizer's.

        Raises:
            GraftworkError: the task's groups do not share out what is trained.
        """
        select = self.kind.companion_of(self.target)
        with self._naming_itself():
            if select is None:
                chosen: list[Any] = [parameter for parameter in model.parameters() if parameter.requires_grad]
            else:
                chosen = list(select(model, **self.companion_options))
            if groups is None and not self._option("weight_decay"):
                return chosen
            own = chosen if chosen and isinstance(chosen[0], Mapping) else [{"params": chosen}]
            parts = own if groups is None else combined(own, groups, self._refuse_setting)
            return split_by_decay(parts, model) if self._option("weight_decay") else parts

    def for_model(self, model: Any, groups: Sequence[Mapping[str, Any]] | None = None, **facts: Any) -> Any:
        """Build an optimizer over a model's trainable parameters, see :meth:`parameters_of`.

        Args:
            model: a ``torch.nn.Module``.
            groups: of the task, with settings that go over the optimizer's.
            **facts: what the caller knows of the run (``total_steps``), for those parameters of the optimizer
                that the recipe left open.
        """
        return self(self.parameters_of(model, groups), **self.open_facts(facts))

    def open_facts(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Those facts of a run that are parameters of the component and that the recipe left open."""
        known = inspect.signature(self.target).parameters
        return {
            name: fact for name, fact in facts.items() if name in known and self.options.get(name) is None
        }

    def _refuse_setting(self, name: str) -> None:
        if name not in inspect.signature(self.target).parameters:
            raise ValueError(
                f"parameter_groups of the task sets {name!r}, and {self.name} has no such option"
            )

    def _option(self, name: str) -> Any:
        """An option's value or its default; None where there is no such option."""
        parameter = inspect.signature(self.target).parameters.get(name)
        return self.options.get(name, None if parameter is None else parameter.default)

    def _check_signature(self, positional: Sequence[Any], arguments: Mapping[str, Any]) -> None:
        try:
            signature = inspect.signature(self.target)
        except ValueError:  # a builtin has none
            return
        try:
            signature.bind(*positional, **arguments)
        except TypeError as error:
            raise ContractError(
                f"{self.entry.component.reference} cannot be built here: {error}; the contract of "
                f"{self.kind.name} is: {self.kind.contract}"
            ) from error

    @contextmanager
    def _naming_itself(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            told = text_of(error)
            option = self._option_named_in(told)
            place = self.places.get(option, "")
            reference = self.entry.component.reference
            sentence = f"{reference}: {told}{f' ({place})' if place else ''}"
            raise OptionError(sentence, reference, option) from error
        except SystemExit as error:  # with 0 even, as if all had been done
            raise GraftworkError(f"{self.entry.component.reference}: {cause_of(error)}") from error

    def _option_named_in(self, message: str) -> str:
        """The option that a message names first, of those whose place is known; "" where it names none.

        An option whose name is a plain word is named where the message begins with it, as "no data for batch"
        names neither ``data`` nor ``batch``.
        """
        found = {
            match.start(): name
            for name in self.places
            for word in {name, name.replace("_", " "), _TORCH_SAYS.get(name, name)}
            if name and (match := re.search(rf"{_beginning(word)}\b{re.escape(word)}\b", message))
        }
        return found[min(found)] if found else ""
