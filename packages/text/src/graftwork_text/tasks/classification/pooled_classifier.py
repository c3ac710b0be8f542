"""A linear layer on the mean of a sentence encoder's outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graftwork_text.tasks.classification.similarity import mean_over_tokens


class MeanPooledClassifier(nn.Module):
    """Scores of classes from the mean of an encoder's outputs over a text's tokens.

    Args:
        encoder: a model of transformers without a head.
        classes: how many.
        dropout: probability with which a component of the mean is left out in training.
        standard_deviation: of the normal distribution that the layer's weights are drawn from.
        dtype: of the layer's weights.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        *,
        dropout: float,
        standard_deviation: float,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        width: int = encoder.config.hidden_size  # type: ignore[union-attr,assignment]
        self.classifier = nn.Linear(width, classes, dtype=dtype)
        nn.init.normal_(self.classifier.weight, std=standard_deviation)
        nn.init.zeros_(self.classifier.bias)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Logits, [texts, classes].

        Args:
            input_ids: [texts, tokens].
            attention_mask: [texts, tokens].
            token_type_ids: [texts, tokens], for encoders that tell the texts of a pair apart.
        """
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        outputs = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types)
        mean = mean_over_tokens(outputs.last_hidden_state, attention_mask)
        logits: Tensor = self.classifier(self.dropout(mean.to(self.classifier.weight.dtype)))
        return logits
