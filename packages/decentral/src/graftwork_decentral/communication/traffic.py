"""What has been sent so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Counters of one process.

    Agents' counters are those of the algorithm: the same whether agents share a process or not.

    Args:
        rounds: exchanges between neighbours.
        messages: sets of vectors sent from an agent here to a neighbour, in this process or another.
        bytes: of these messages.
        wire_bytes: of what this process sent to others.

    >>> traffic = Traffic()
    >>> traffic.count(messages=20, row_bytes=400)
    >>> traffic.rounds, traffic.bytes
    (1, 8000)
    """

    rounds: int = 0
    messages: int = 0
    bytes: int = 0
    wire_bytes: int = 0

    def count(self, messages: int, row_bytes: int) -> None:
        """Take in one round.

        Args:
            messages: sent by agents of this process.
            row_bytes: bytes of one message.
        """
        self.rounds += 1
        self.messages += messages
        self.bytes += messages * row_bytes

    def go_on_from(self, earlier: Sequence[Traffic], rounds: int) -> None:
        """Begin with what was sent before.

        Args:
            earlier: counters whose messages are counted here from now on.
            rounds: so far, the same in all processes.

        >>> traffic = Traffic()
        >>> traffic.go_on_from([Traffic(7, 2, 80), Traffic(7, 1, 40)], rounds=7)
        >>> traffic.rounds, traffic.messages, traffic.bytes
        (7, 3, 120)
        """
        self.rounds = rounds
        self.messages = sum(one.messages for one in earlier)
        self.bytes = sum(one.bytes for one in earlier)
        self.wire_bytes = sum(one.wire_bytes for one in earlier)
