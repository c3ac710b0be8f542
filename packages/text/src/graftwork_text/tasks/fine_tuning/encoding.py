"""Text to token numbers, and token numbers to batches.

Texts are data: a special token that one of them spells out (``[MASK]``, ``</s>``) is encoded as ordinary
characters. Batches are padded to their longest member, rounded up to a multiple of 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork_text.tasks.language_model.long_texts import pieces_of
from graftwork_text.tasks.language_model.tokenization import TextTokenizer

Tokens = list[int]
Batch = dict[str, Tensor]
Side = Literal["left", "right"]
_WIDTHS_ARE_MULTIPLES_OF = 8
# In what people write; a run of white space or a word without end may be one token of more.
_MOST_CHARACTERS_OF_A_TOKEN = 64


class TextEncoder:
    """The parts of a tokenizer that prompts are assembled from.

    Args:
        tokenizer: of transformers, in its fast form, with a padding token.
        max_length: longest sequence of tokens, special ones included.

    Attributes:
        tokenizer: as given.
        prefix: special tokens before a text (``<s>``, ``[CLS]``), often none.
        suffix: special tokens after a text.
        padding: the token that fills a batch up; attention masks hide it.
        mask: the token of a masked position, or None where the tokenizer has none.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self.max_length = max_length
        self.padding: int = tokenizer.pad_token_id
        self.mask: int | None = tokenizer.mask_token_id
        bare = self.encode(["a"])[0]
        dressed: Tokens = self._backend.encode("a", add_special_tokens=True).ids
        start = next(i for i in range(len(dressed)) if dressed[i : i + len(bare)] == bare)
        self.prefix, self.suffix = dressed[:start], dressed[start + len(bare) :]

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, without any special one."""
        # Made each time: transformers sets the backend back whenever the tokenizer is used otherwise.
        tokenizer = TextTokenizer(self._backend, end_of_text=self.padding)
        return [tokens.tolist() for tokens in tokenizer.encode(texts)]

    def beginning(self, text: str) -> str:
        """As much of a text as can have more tokens than a sequence, cut where a word begins.

        An encoding takes 250 times the memory of its text, that of a pair grows with the product of their
        lengths, and all but the first tokens are thrown away.
        """
        longest = self.max_length * _MOST_CHARACTERS_OF_A_TOKEN
        return text if len(text) <= longest else next(pieces_of([text], longest)).text

    def whole(self, tokens: Tokens) -> Tokens:
        """A text between its special tokens, its end cut off where it is too long."""
        room = self.max_length - len(self.prefix) - len(self.suffix)
        return [*self.prefix, *tokens[:room], *self.suffix]

    def padded(self, sequences: Sequence[Tokens], side: Side) -> Batch:
        """Stack sequences, see :func:`padded`."""
        return padded(sequences, padding=self.padding, side=side, max_length=self.max_length)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Examples as token numbers, ready to be stacked.

    Args:
        lengths: tokens of each example.
        batch: makes tensors on the CPU of those of some numbers, int64 [examples].
    """

    lengths: Sequence[int]
    batch: Callable[[NDArray[np.int64]], Batch]

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.lengths)

    def shortest_first(self) -> Encoded:
        """The same examples, ordered so that those of one batch need little padding.

        Their batches have ``sample`` too, int64 [examples], the numbers in the first order.
        """
        order = np.argsort(np.asarray(self.lengths), kind="stable")
        return Encoded(
            [self.lengths[number] for number in order],
            lambda rows: {**self.batch(order[rows]), "sample": torch.from_numpy(order[rows])},
        )


def padded(sequences: Sequence[Tokens], *, padding: int, side: Side, max_length: int) -> Batch:
    """Stack sequences of different lengths.

    Args:
        sequences: at least one; one without tokens, of an empty text, becomes one token of padding that is
            not masked, since a mean over nothing is no number.
        padding: fills up.
        side: where it goes; causal models want the last token of every row at the end.
        max_length: the width is rounded up to a multiple of 8, but not beyond this.

    Returns:
        ``input_ids`` and ``attention_mask``, both int64 [sequences, width].

    >>> padded([[5, 6], [7]], padding=0, side="left", max_length=2)["input_ids"].tolist()
    [[5, 6], [0, 7]]
    """
    sequences = [tokens or [padding] for tokens in sequences]
    longest = max(map(len, sequences))
    rounded = -(-longest // _WIDTHS_ARE_MULTIPLES_OF) * _WIDTHS_ARE_MULTIPLES_OF
    width = max(longest, min(rounded, max_length))
    input_ids = torch.full((len(sequences), width), padding)
    attention_mask = torch.zeros((len(sequences), width), dtype=torch.int64)
    for row, tokens in enumerate(sequences):
        place = slice(width - len(tokens), width) if side == "left" else slice(0, len(tokens))
        input_ids[row, place] = torch.tensor(tokens)
        attention_mask[row, place] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}
