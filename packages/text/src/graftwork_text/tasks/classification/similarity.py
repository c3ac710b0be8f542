"""Scores of a sentence encoder: 20 times the cosine between a text and the sentence of each label.

A text's embedding is the mean of the encoder's outputs over its tokens. The labels' sentences are encoded
together with the texts, by the same weights in the same forward pass, so that training moves both sides.
Batches hold ``input_ids`` and ``attention_mask``, [examples + labels, tokens], the labels' sentences last,
and ``labels`` [examples].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork_text.corpora import LabelledExample
from graftwork_text.tasks.classification.scoring import labelled
from graftwork_text.tasks.fine_tuning.encoding import Batch, Encoded, TextEncoder
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

    def encode(self, examples: Sequence[LabelledExample]) -> Encoded:
        """Tokenize examples and the labels' sentences."""
        filled = [self._sentences.filled(example.texts) for example in examples]
        tokens = self._encoder.encode([*filled, *self._sentences.sentences])
        whole = [self._encoder.whole(one) for one in tokens]
        texts, sentences = whole[: len(examples)], whole[len(examples) :]

        def inputs(rows: NDArray[np.int64]) -> Batch:
            return self._encoder.padded([*(texts[row] for row in rows), *sentences], "right")

        return labelled(examples, list(map(len, texts)), inputs)

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Scaled cosines, float32 [examples, labels]."""
        mask = batch["attention_mask"]
        output = model(input_ids=batch["input_ids"], attention_mask=mask)
        embeddings = mean_over_tokens(output.last_hidden_state, mask)
        embeddings = F.normalize(embeddings, dim=1)
        examples = len(batch["labels"])
        return COSINE_SCALE * embeddings[:examples] @ embeddings[examples:].T


def mean_over_tokens(outputs: Tensor, mask: Tensor) -> Tensor:
    """The mean of a text's outputs, padding left out; float32 [texts, width].

    Args:
        outputs: [texts, tokens, width].
        mask: [texts, tokens], 1 where there is a token.

    >>> import torch
    >>> mean_over_tokens(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]])).item()
    2.0
    """
    weights = mask.unsqueeze(-1).float()
    return (outputs.float() * weights).sum(1) / weights.sum(1)
