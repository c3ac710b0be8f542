"""What has been sent so far."""

from __future__ import annotations

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
