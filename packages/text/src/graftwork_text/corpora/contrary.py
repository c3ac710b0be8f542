"""The same item with several answers: a text under two labels, a question with two right options."""

from __future__ import annotations

from graftwork_text.corpora.remarks import Remark

_MOST_SHOWN = 3


class ContraryAnswers:
    """Sees items one after another, and remembers the first place of each.

    >>> seen = ContraryAnswers("contrary", "text(s) stand under more than one label")
    >>> for line, label in enumerate(["good", "bad", "bad"]):
    ...     seen.add(7, label, f"line {line}")
    >>> seen.remarks()[0].told
    '1 text(s) stand under more than one label (first: line 0 and line 1)'

    Args:
        fact: what the number of such items is called.
        told: what is to be said of them, to stand after their number.
    """

    def __init__(self, fact: str, told: str) -> None:
        self._fact, self._told = fact, told
        self._first: dict[int, tuple[str, str]] = {}
        self._places: dict[int, str] = {}

    def add(self, key: int, answer: str, place: str) -> None:
        """See an item.

        Args:
            key: equal for what is the same item.
            answer: that stands with it.
            place: where it stands, for the message.
        """
        earlier, first = self._first.setdefault(key, (answer, place))
        if answer != earlier and key not in self._places:
            self._places[key] = f"{first} and {place}"

    def remarks(self) -> list[Remark]:
        """One, if there is any such item."""
        if not self._places:
            return []
        shown = "; ".join(list(self._places.values())[:_MOST_SHOWN])
        return [Remark(self._fact, len(self._places), f"{len(self._places)} {self._told} (first: {shown})")]
