"""Scores of a masked language model: the logits of the labels' words at the masked position.

The template's place for the label holds the mask; every word must be a single token there, and the loss is
the cross-entropy over the words' logits alone (Gao, Fisch, Chen, arXiv:2012.15723, as MeZO and LOZO use it).
A prompt that is too long loses tokens at its start, where there are any before the mask, and else at its end.
Batches hold ``input_ids`` and ``attention_mask`` [examples, tokens], ``words`` [examples, labels] (token
numbers) and ``labels`` [examples].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork.errors import GraftworkError
from graftwork_text.corpora import LabelledExample
from graftwork_text.tasks.classification.scoring import labelled
from graftwork_text.tasks.fine_tuning.encoding import Batch, Encoded, TextEncoder, Tokens
from graftwork_text.tasks.fine_tuning.prompts import Prompt


class MaskedWordScoring:
    """Fill the mask with the word of a label.

    Args:
        encoder: of the model's tokenizer.
        prompt: with a place for the word.

    Raises:
        GraftworkError: the tokenizer has no mask, or a word is not one token.
    """

    def __init__(self, encoder: TextEncoder, prompt: Prompt) -> None:
        if encoder.mask is None:
            raise GraftworkError(
                "scoring 'masked-lm' needs a tokenizer with a mask token, and this model's has none; "
                "use 'causal-lm' or 'similarity'"
            )
        self._encoder = encoder
        self._prompt = prompt
        self._mask = encoder.mask
        words = [prompt.space + word for word in prompt.words]
        encoded = encoder.encode(words)
        long = [word.strip() for word, tokens in zip(words, encoded, strict=True) if len(tokens) != 1]
        if long:
            raise GraftworkError(
                f"scoring 'masked-lm' needs label words of one token each, and {', '.join(map(repr, long))} "
                "are several tokens to this model; choose shorter words, or scoring 'causal-lm'"
            )
        self._words = torch.tensor([tokens[0] for tokens in encoded])

    def encode(self, examples: Sequence[LabelledExample]) -> Encoded:
        """Tokenize examples around the mask."""

        def parts(part: str) -> list[Tokens]:
            return self._encoder.encode([self._prompt.filled(part, example.texts) for example in examples])

        # The white space before the mask belongs to the word, as where the word itself would stand there.
        together = zip(parts(self._prompt.before), parts(self._prompt.after), strict=True)
        sequences = [self._assembled(before, after) for before, after in together]

        def inputs(rows: NDArray[np.int64]) -> Batch:
            stacked = self._encoder.padded([sequences[row] for row in rows], "right")
            return {**stacked, "words": self._words.expand(len(rows), -1)}

        return labelled(examples, list(map(len, sequences)), inputs)

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits of the labels' words, float32 [examples, labels]."""
        logits: Tensor = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        places = (batch["input_ids"] == self._mask).int().argmax(1)
        at_mask = logits[torch.arange(len(places), device=places.device), places]
        return at_mask.float().gather(1, batch["words"])

    def _assembled(self, before: Tokens, after: Tokens) -> Tokens:
        encoder = self._encoder
        room = encoder.max_length - len(encoder.prefix) - len(encoder.suffix) - 1
        too_many = max(len(before) + len(after) - room, 0)
        cut = min(too_many, len(before))
        kept_after = after[: len(after) - (too_many - cut)]
        return [*encoder.prefix, *before[cut:], self._mask, *kept_after, *encoder.suffix]
