"""Classes of sequences, and of pairs of sequences, by an encoder around any mixer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from graftwork import Choice, Kind, choose
from graftwork_attention.heads import check_heads
from graftwork_attention.masks import valid_counts, zeroed
from graftwork_attention.mixers.ranges import check_probability
from graftwork_attention.models.encoder_block import EncoderBlock

Attention = str | Choice | Callable[..., nn.Module]
Pooling = Literal["mean", "cls"]
# Of tokens and positions, as in BERT.
_STANDARD_DEVIATION = 0.02


class SequenceClassifier(nn.Module):
    """Tokens with learned positions, blocks, a LayerNorm, a pool over the real tokens, and two linear layers.

    Args:
        dim: width of a token.
        classes: logits that it returns.
        max_len: the largest number of tokens of a sequence.
        vocabulary: how many different token numbers there are, 0 among them, which is padding; None for
            sequences of floats.
        features: numbers of each token, where sequences are floats; None where they are token numbers.
        attention: a registered name, the choice of a recipe, or a function of ``(dim, heads, max_len, *,
            layer_index)`` that builds a mixer; the class token counts in ``max_len``.
        heads: of the attention; divides dim.
        layers: how many blocks.
        hidden: width of the perceptrons in the blocks and in front of the classes; None for 2 * dim.
        pooling: the mean over real tokens, or the output at a class token that stands in front.
        pairs: classify two sequences together. Both go through the same encoder, to u and v; the classes are
            those of u, v, u * v and u - v side by side.
        dropout: share that training drops in the blocks and of the embedding, in [0, 1).

    Raises:
        ValueError: an option is out of its range.

    >>> model = SequenceClassifier(16, classes=3, max_len=32, vocabulary=100)
    >>> model(torch.tensor([[5, 6, 7], [8, 0, 0]]), torch.tensor([[True] * 3, [True, False, False]])).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        max_len: int,
        *,
        vocabulary: int | None = None,
        features: int | None = None,
        attention: Attention = "sdpa",
        heads: int = 2,
        layers: int = 2,
        hidden: int | None = None,
        pooling: Pooling = "mean",
        pairs: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if (vocabulary is None) == (features is None):
            raise ValueError(
                "give vocabulary for sequences of token numbers, or features for sequences of floats, and "
                f"not both; got vocabulary={vocabulary}, features={features}"
            )
        hidden = 2 * dim if hidden is None else hidden
        for name, size in {
            "classes": classes,
            "max_len": max_len,
            "vocabulary": vocabulary,
            "features": features,
            "layers": layers,
            "hidden": hidden,
        }.items():
            if size is not None and size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        check_heads(dim, heads)
        if pooling not in ("mean", "cls"):
            raise ValueError(f"pooling must be 'mean' or 'cls', got {pooling!r}")
        check_probability("dropout", dropout)
        self.max_len, self.features, self.pooling, self.pairs = max_len, features, pooling, pairs
        self.embedding: nn.Module
        if vocabulary is not None:
            self.embedding = nn.Embedding(vocabulary, dim)
            nn.init.normal_(self.embedding.weight, std=_STANDARD_DEVIATION)
        else:
            self.embedding = nn.Linear(int(features or 0), dim)
        self.positions = nn.Parameter(torch.randn(max_len, dim) * _STANDARD_DEVIATION)
        prefix = 0
        if pooling == "cls":
            self.class_token = nn.Parameter(torch.randn(dim) * _STANDARD_DEVIATION)
            prefix = 1
        self.dropout = nn.Dropout(dropout)
        build = choose(Kind.ATTENTION, attention) if isinstance(attention, str) else attention
        self.blocks = nn.ModuleList(
            EncoderBlock(
                dim,
                build(dim, heads, max_len + prefix, layer_index=layer),
                hidden=hidden,
                dropout=dropout,
            )
            for layer in range(layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Sequential(
            nn.Linear(dim * (4 if pairs else 1), hidden), nn.ReLU(), nn.Linear(hidden, classes)
        )

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor | None = None,
        other: Tensor | None = None,
        other_mask: Tensor | None = None,
    ) -> Tensor:
        """Return logits ``[batch, classes]``.

        Args:
            tokens: int64 ``[batch, tokens]``, or floats ``[batch, tokens, features]``.
            mask: bool ``[batch, tokens]``, True where a token is real; None where all are, whatever their
                numbers.
            other: the second sequence of each pair, likewise; it may have another length.
            other_mask: of it.

        Raises:
            ValueError: a sequence does not fit, or there are two where one is classified, or one for two.
        """
        if self.pairs != (other is not None):
            raise ValueError(
                "a second sequence must be given as other, since the model was built with pairs=True"
                if self.pairs
                else "other must be left out: the model classifies single sequences; build it with pairs=True"
            )
        pooled = self.encode(tokens, mask)
        if other is not None:
            second = self.encode(other, other_mask)
            pooled = torch.cat([pooled, second, pooled * second, pooled - second], 1)
        logits: Tensor = self.head(pooled)
        return logits

    def encode(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the pooled output ``[batch, dim]`` of single sequences; zeros of one without a real token.

        Args:
            tokens: as of :meth:`forward`.
            mask: of them.

        Raises:
            ValueError: they do not fit.
        """
        self._check(tokens, mask)
        x = self.embedding(tokens if self.features is None else zeroed(tokens, mask))
        x = x + self.positions[: tokens.shape[1]]
        if self.pooling == "cls":
            x = torch.cat([self.class_token.expand(len(x), 1, -1), x], 1)
            if mask is not None:
                # Of a sequence without a real token there is nothing to say.
                mask = torch.cat([mask.any(1, keepdim=True), mask], 1)
        x = self.dropout(zeroed(x, mask))
        for block in self.blocks:
            x = block(x, mask)
        x = zeroed(self.norm(x), mask)
        if self.pooling == "cls":
            return x[:, 0]
        count = x.shape[1] if mask is None else valid_counts(mask).clamp(min=1).unsqueeze(1)
        return x.sum(1) / count

    def _check(self, tokens: Tensor, mask: Tensor | None) -> None:
        """Refuse a sequence that does not fit."""
        name = type(self).__name__
        whole = self.features is None
        shape = "[batch, tokens]" if whole else f"[batch, tokens, {self.features}]"
        fits = tokens.dim() == 2 if whole else tokens.dim() == 3 and tokens.shape[2] == self.features
        if not fits or tokens.is_floating_point() == whole:
            kind = "token numbers" if whole else "floats"
            raise ValueError(f"{name} takes {kind} {shape}, got {tokens.dtype} {list(tokens.shape)}")
        if tokens.shape[1] > self.max_len:
            raise ValueError(
                f"{name} was built for at most max_len={self.max_len} tokens, got {tokens.shape[1]}; build "
                "it with a larger max_len"
            )
        if mask is not None and (mask.dtype != torch.bool or mask.shape != tokens.shape[:2]):
            raise ValueError(
                f"mask of {name} must be bool {list(tokens.shape[:2])}, True where a token is real, got "
                f"{mask.dtype} {list(mask.shape)}"
            )
