"""Scores of a sentence encoder: 20 times the cosine between a text and the sentence of each label.

A text's embedding is the mean of the encoder's outputs over its tokens. The labels' sentences are encoded
together with the texts, by the same weights in the same forward pass, so that training moves both sides.
Batches hold ``input_ids`` and ``attention_mask``, [examples + labels, tokens], the labels' sentences last,
and ``labels`` [examples].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork_text.corpora import LabelledExample
from graftwork_text.tasks.classification.scoring import Batch
from graftwork_text.tasks.fine_tuning.encoding import TextEncoder, Tokens, padded
from graftwork_text.tasks.fine_tuning.prompts import LabelSentences

# Cosines lie close together; the encoders of this kind were trained with their cosines times 20.
COSINE_SCALE = 20.0


class SimilarityScoring:
    """Compare a text with a sentence for each label.

    Args:
        encoder: of the model's tokenizer.
        sentences: what to compare.
    """

    def __init__(self, encoder: TextEncoder, sentences: LabelSentences) -> None:
        self._encoder = encoder
        self._sentences = sentences

    def encode(self, examples: Sequence[LabelledExample]) -> EncodedTexts:
        """Tokenize examples and the labels' sentences."""
        texts = [self._sentences.filled(example.texts) for example in examples]
        rows = [
            self._encoder.whole(tokens)
            for tokens in self._encoder.encode([*texts, *self._sentences.sentences])
        ]
        return EncodedTexts(
            rows[: len(examples)],
            rows[len(examples) :],
            [example.label for example in examples],
            padding=self._encoder.padding,
            max_length=self._encoder.max_length,
        )

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Scaled cosines, float32 [examples, labels]."""
        mask = batch["attention_mask"]
        output = model(input_ids=batch["input_ids"], attention_mask=mask)
        embeddings = mean_over_tokens(output.last_hidden_state, mask)
        embeddings = F.normalize(embeddings, dim=1)
        examples = len(batch["labels"])
        return COSINE_SCALE * embeddings[:examples] @ embeddings[examples:].T


class EncodedTexts:
    """Texts, and sentences that go into every batch.

    Args:
        texts: token numbers of each example.
        sentences: token numbers of the labels' sentences.
        labels: of the examples.
        padding: the token that fills a batch up.
        max_length: the longest sequence.
    """

    def __init__(
        self,
        texts: Sequence[Tokens],
        sentences: Sequence[Tokens],
        labels: Sequence[int],
        *,
        padding: int,
        max_length: int,
    ) -> None:
        self._texts = texts
        self._sentences = sentences
        self._labels = torch.tensor(labels, dtype=torch.int64)
        self._padding = padding
        self._max_length = max_length
        self.lengths = [len(text) for text in texts]

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self._texts)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Some texts, and the sentences behind them.

        Args:
            rows: [examples], which ones.
        """
        chosen = [*(self._texts[row] for row in rows), *self._sentences]
        stacked = padded(chosen, padding=self._padding, side="right", max_length=self._max_length)
        return {**stacked, "labels": self._labels[torch.from_numpy(rows)]}


def mean_over_tokens(outputs: Tensor, mask: Tensor) -> Tensor:
    """The mean of a text's outputs, padding left out; float32 [texts, width].

    Args:
        outputs: [texts, tokens, width].
        mask: [texts, tokens], 1 where there is a token.

    >>> mean_over_tokens(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]])).item()
    2.0
    """
    weights = mask.unsqueeze(-1).float()
    return (outputs.float() * weights).sum(1) / weights.sum(1)
