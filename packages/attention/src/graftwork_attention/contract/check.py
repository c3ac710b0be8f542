"""A promise that every mixer keeps, and how it is looked into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from graftwork_attention.contract.subject import Subject


class ContractBroken(Exception):  # noqa: N818, as it is a finding and no error of ours
    """A mixer does not keep a promise: one sentence, with the figures found."""


class Build(Protocol):
    """What makes a mixer: its class, or a ``functools.partial`` of it with options."""

    def __call__(self, dim: int, heads: int, max_len: int, *, layer_index: int) -> nn.Module:
        """Build it."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of the contract.

    Args:
        name: for people, lower case with hyphens.
        promise: what a mixer that keeps it does, one sentence without a subject.
        look: raises :class:`ContractBroken`, or returns.
        needs: capabilities without which there is nothing to keep.
    """

    name: str
    promise: str
    look: Callable[[Subject], None]
    needs: tuple[str, ...] = ()

    def applies(self, build: Build) -> bool:
        """Whether a mixer claims what the promise is about.

        Raises:
            ContractBroken: it cannot be built, or does not say what it can do.
        """
        with _errors_are_findings():
            capabilities = Subject(build).capabilities
        return all(getattr(capabilities, need) for need in self.needs)

    def run(self, build: Build) -> None:
        """Look into a mixer of width 16, 2 heads and at most 24 tokens, on the CPU.

        The global random generator is left as it was. Where the promise does not apply nothing is done.

        Args:
            build: called several times.

        Raises:
            ContractBroken: it does not keep the promise, or stopped with an error where it should not.
        """
        if self.applies(build):
            with _errors_are_findings():
                self.look(Subject(build))


@contextmanager
def _errors_are_findings() -> Iterator[None]:
    try:
        yield
    except ContractBroken:
        raise
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ContractBroken(f"stopped with {type(error).__name__}: {first_line}") from error


def check(
    name: str, promise: str, needs: tuple[str, ...] = ()
) -> Callable[[Callable[[Subject], None]], Check]:
    """Make a :class:`Check` of a function."""
    return lambda look: Check(name, promise, look, needs)
