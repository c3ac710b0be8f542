"""Performer attention (arXiv:2009.14794): softmax attention in the space of random features, FAVOR+.

    φ(x) = exp(ωᵀx - ‖x‖²/2 - max) / √features + eps,    x = q or k over width^¼      (eq. 5)
    y = φ(q) (φ(k)ᵀ v) / φ(q) (φ(k)ᵀ 1)                                               (eq. 4)

The maximum keeps the exponentials in range and cancels: for a query it is its own, for keys that of the
*real* tokens of a sample and head. Published code takes it over the whole batch, padding too, and so lets
what it should not see change the results by way of eps. With eps it does not cancel wholly, so gradients go
through it: without them those of keys would be others by a third and more.

Cost: 4·dim² + 4·features·dim multiply-adds per token.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graftwork_attention.capabilities import Capabilities
from graftwork_attention.heads import merge_heads, split_heads
from graftwork_attention.masks import opened
from graftwork_attention.mixer import Mixer
from graftwork_attention.mixers.random_features import draw_orthogonal
from graftwork_attention.mixers.ranges import check_one_of, check_positive, check_whole
from graftwork_attention.precision import at_least_float32, without_autocast


class PerformerAttention(Mixer):
    """Softmax attention estimated by positive random features, or attention with the ReLU kernel.

    The features are drawn once, are part of ``state_dict`` and shared by the heads; :meth:`redraw` draws
    others.

    Args:
        dim: width of a token.
        heads: divides ``dim``.
        max_len: the largest number of tokens.
        layer_index: which layer of a model it is: every layer has features of its own.
        features: how many, 1 or more.
        kernel: ``"softmax"`` estimates softmax attention; ``"relu"`` has φ(x) = relu(ωᵀx)/√features + eps.
        eps: added to every feature of a real token, greater than 0, so that no sum of weights is 0.
        feature_seed: from which the features are drawn, with ``layer_index``; 0 or more.
        qkv_bias: whether the maps to queries, keys and values have a bias.

    Raises:
        ValueError: an option is out of its range.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        masks=True, any_length=True, reuses_qkv=True, needs_positions=True
    )
    directions: Tensor

    def __init__(
        self,
        dim: int,
        heads: int,
        max_len: int,
        *,
        layer_index: int = 0,
        features: int = 256,
        kernel: Literal["softmax", "relu"] = "softmax",
        eps: float = 1e-4,
        feature_seed: int = 0,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__(dim, heads, max_len, layer_index=layer_index)
        check_whole("features", features, 1)
        check_one_of("kernel", kernel, ("softmax", "relu"))
        check_positive("eps", eps)
        check_whole("feature_seed", feature_seed, 0, 2**32 - 1)
        self.kernel, self.eps = kernel, eps
        self.query = nn.Linear(dim, dim, bias=qkv_bias)
        self.key = nn.Linear(dim, dim, bias=qkv_bias)
        self.value = nn.Linear(dim, dim, bias=qkv_bias)
        self.output = nn.Linear(dim, dim)
        self.register_buffer("directions", torch.empty(features, dim // heads))
        self.redraw(feature_seed)

    @torch.no_grad()
    def redraw(self, seed: int) -> None:
        """Draw other features, in place: the same ones for the same seed and ``layer_index``.

        Args:
            seed: 0 or more.
        """
        check_whole("seed", seed, 0, 2**32 - 1)
        self.directions.copy_(
            draw_orthogonal(*self.directions.shape, seed=seed, layer_index=self.layer_index)
        )

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        mask = opened(mask)
        query, key, value = (
            split_heads(project(x), self.heads) for project in (self.query, self.key, self.value)
        )
        # A column of ones beside the values, so that one product gives the sums of weights too. Where both
        # are zero, as at padding, features do not count.
        values_and_one = F.pad(at_least_float32(value), (0, 1), value=1.0)
        if mask is not None:
            values_and_one = values_and_one.masked_fill(~mask[:, None, :, None], 0)
        with without_autocast(x):
            key_features = self._features(at_least_float32(key), mask, of_keys=True)
            query_features = self._features(at_least_float32(query), None, of_keys=False)
            sums = query_features @ (key_features.mT @ values_and_one)
            y = (sums[..., :-1] / sums[..., -1:]).to(value.dtype)
        mixed: Tensor = self.output(merge_heads(y))
        return mixed

    def _features(self, x: Tensor, mask: Tensor | None, *, of_keys: bool) -> Tensor:
        """√features·φ, a factor that cancels, of ``[batch, heads, tokens, width]``; finite at padding."""
        width = x.shape[-1]
        projected = x @ (self.directions.to(x.dtype) * math.pow(width, -0.25)).mT
        floor = self.eps * math.sqrt(self.directions.shape[0])
        if self.kernel == "relu":
            return projected.relu() + floor
        if not of_keys:
            # Of one query all features have the same ‖x‖², which goes away with the maximum.
            return (projected - projected.max(-1, keepdim=True).values).exp() + floor
        half_square = x.square().sum(-1, keepdim=True) / (2 * math.sqrt(width))
        tops = projected.max(-1, keepdim=True).values - half_square
        if mask is not None:
            padding = ~mask[:, None, :, None]
            tops, half_square = (
                tops.masked_fill(padding, -math.inf),
                half_square.masked_fill(padding, math.inf),
            )
        return (projected - (half_square + tops.max(-2, keepdim=True).values)).exp() + floor
