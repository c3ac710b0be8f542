"""What a worker of a training, a process or an agent, draws its micro-batches from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any


class Stream(ABC, Iterator[Any]):
    """One worker's micro-batches without end, which another process can go on with.

    Attributes:
        inexact: why a resumed run would meet other batches; None where it meets the same.
        shared: whether the place in it means the same to any number of workers.
        samples: in a micro-batch; None where nobody knows.
        per_epoch: micro-batches of one worker in which all of them together go once through the data; None
            where nobody knows.
        remarks: what a person should know of it, a sentence each.
    """

    inexact: str | None = None
    shared: bool = True
    samples: int | None = None
    per_epoch: Fraction | None = None

    def __init__(self) -> None:
        self.remarks: list[str] = []

    @abstractmethod
    def __next__(self) -> Any:
        """The next micro-batch."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Where it is, as plain data and tensors."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> bool:
        """Go on from there, before the first micro-batch is drawn.

        Args:
            state: of :meth:`state`, maybe by another kind of stream.

        Returns:
            Whether it could; otherwise it is at its beginning.
        """

    @abstractmethod
    def skip(self, count: int) -> None:
        """Pass over micro-batches, before the first is drawn.

        Args:
            count: how many.
        """

    def taken(self, drawn: int) -> Fraction:
        """How many micro-batches of today's size make up what was taken from the data.

        Args:
            drawn: micro-batches that were drawn, of whatever size they were.
        """
        return Fraction(drawn)

    def close(self) -> None:
        """Let go of worker processes."""
        return
