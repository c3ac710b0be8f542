"""S3Attention: smoothing, then skeleton attention, in place of a multi-head self-attention.

Source: "S3Attention: Improving Long Sequence Attention with Smoothed Skeleton Sketching", arXiv:2408.08567.
Cost is linear in the number of tokens, but for the logarithm of the FFTs. It is not an approximation of
softmax attention: weights of one do not carry over to the other without training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor

from graftwork_attention.capabilities import Capabilities
from graftwork_attention.mixer import Mixer
from graftwork_attention.mixers.ranges import check_whole
from graftwork_attention.s3.presets import (
    Activation,
    ChannelScale,
    FoldStem,
    KernelInit,
    Landmarks,
    Norm,
    Preset,
    settings_of,
)
from graftwork_attention.s3.skeleton import SkeletonAttention
from graftwork_attention.s3.smoother import Smoother


class S3Attention(Mixer):
    """A smoother and a skeleton attention on what it smoothed.

    Bidirectional by construction: neither causal nor cross-attention, no mask over pairs of tokens, no cache.
    The residual and the normalisation before it are the block's around it.

    Args:
        dim: width of a token.
        heads: divides ``dim``.
        max_len: the largest number of tokens, N; the smoother's kernel has that length.
        layer_index: which layer of a model it is, so that layers draw different tokens and channels.
        tokens: how many tokens every query looks at (s1); 8, or all where there are fewer.
        channels: how many channels of a head the others are made of (s2); 8, or all where there are fewer.
        segments: groups of channels that are averaged before the Fourier convolution (r); 8, or the largest
            number below that divides ``dim``.
        stem_kernel: taps of the short convolution, odd.
        activation: of the stem.
        norm: of the stem: ``layer`` each token by itself; ``position_batch`` each position over batch and
            width (the paper's); ``channel_batch`` each channel over batch and positions. The last two couple
            the samples of a batch in training.
        norm_eps: added to variances, of the stem's norm and of both LayerNorms.
        kernel_init: of the Fourier convolution: ``kaiming-normal`` and ``kaiming-uniform`` have standard
            deviation dim^-1/2 whatever the length, ``scaled`` has max_len^-1/2, as the paper's theory wants.
        smoother_dropout: after the stem.
        attn_dropout: of attention weights of both branches.
        qkv_bias: whether query, key and value maps have a bias.
        out_proj: whether a linear map ends it.
        landmarks: ``relative`` places the tokens at fixed fractions of the real ones of each sample,
            ``fixed`` at fixed positions.
        channel_scale: ``valid`` divides products of channels by the root of the number of real tokens,
            ``max`` by that of ``max_len``.
        selection_seed: of the draw of tokens and channels, which depends on nothing else but the layer.
        preset: what the options that are left out are: ``robust``; ``paper``; ``reference-lra`` and
            ``reference-forecast``, as the authors' code has it.
        use_smoother: False leaves out the Fourier convolution.
        use_stem: False leaves out the stem.
        use_token_branch: False leaves out attention to tokens.
        use_channel_branch: False leaves out attention among channels.
        fold_stem: when the stem's convolution of smoothed tokens is done in the spectrum, which gives the
            same numbers but for rounding: ``auto`` where that was measured to be quicker.

    Raises:
        ValueError: a size or a word does not fit.

    >>> import torch
    >>> attention = S3Attention(64, 2, 128)
    >>> mask = torch.arange(100) < torch.tensor([[100], [60]])
    >>> attention(torch.randn(2, 100, 64), mask).shape
    torch.Size([2, 100, 64])
    """

    capabilities = Capabilities(masks=True, any_length=True)

    def __init__(
        self,
        dim: int,
        heads: int,
        max_len: int,
        *,
        layer_index: int = 0,
        tokens: int | None = None,
        channels: int | None = None,
        segments: int | None = None,
        stem_kernel: int | None = None,
        activation: Activation | None = None,
        norm: Norm | None = None,
        norm_eps: float | None = None,
        kernel_init: KernelInit | None = None,
        smoother_dropout: float = 0.0,
        attn_dropout: float = 0.0,
        qkv_bias: bool | None = None,
        out_proj: bool | None = None,
        landmarks: Landmarks | None = None,
        channel_scale: ChannelScale | None = None,
        selection_seed: int = 0,
        preset: Preset = "robust",
        use_smoother: bool = True,
        use_stem: bool = True,
        use_token_branch: bool = True,
        use_channel_branch: bool = True,
        fold_stem: FoldStem = "auto",
    ) -> None:
        super().__init__(dim, heads, max_len, layer_index=layer_index)
        settings = settings_of(
            preset,
            segments=segments,
            stem_kernel=stem_kernel,
            activation=activation,
            norm=norm,
            norm_eps=norm_eps,
            kernel_init=kernel_init,
            qkv_bias=qkv_bias,
            out_proj=out_proj,
            landmarks=landmarks,
            channel_scale=channel_scale,
        )
        groups = dim if settings.segments == "dim" else settings.segments
        if segments is None:
            groups = max(number for number in range(1, groups + 1) if dim % number == 0)
        self._options: dict[str, Any] = {
            "segments": groups,
            "stem_kernel": settings.stem_kernel,
            "activation": settings.activation,
            "norm": settings.norm,
            "kernel_init": settings.kernel_init,
            "smoother_dropout": smoother_dropout,
            "use_smoother": use_smoother,
            "use_stem": use_stem,
            "fold_stem": fold_stem,
        }
        self.smoother = Smoother(dim, max_len, norm_eps=settings.norm_eps, **self._options)
        of_skeleton: dict[str, Any] = {
            "tokens": min(8, max_len) if tokens is None else tokens,
            "channels": min(8, dim // heads) if channels is None else channels,
            "landmarks": settings.landmarks,
            "channel_scale": settings.channel_scale,
            "attn_dropout": attn_dropout,
            "qkv_bias": settings.qkv_bias,
            "out_proj": settings.out_proj,
            "use_token_branch": use_token_branch,
            "use_channel_branch": use_channel_branch,
            "norm_eps": settings.norm_eps,
        }
        self.skeleton = SkeletonAttention(
            dim, heads, max_len, layer_index=layer_index, selection_seed=selection_seed, **of_skeleton
        )
        self._options |= of_skeleton | {"preset": preset}

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.skeleton.mix(self.smoother.smooth(x, mask), mask)

    def resample(self, seed: int) -> None:
        """Draw tokens and channels anew, as a module built with this ``selection_seed`` has them."""
        self.skeleton.resample(seed)

    def resize_length(self, max_len: int) -> None:
        """Take the module to another ``max_len``.

        The smoother's kernel is interpolated over frequency, what belongs to positions over position, and the
        chosen tokens keep their fractions of the length. Parameters are replaced by new ones: make the
        optimizer afterwards.

        Args:
            max_len: the new largest number of tokens, at least as many as ``tokens``.

        Raises:
            ValueError: it is no whole number or has fewer positions than chosen tokens; nothing has changed
                then.
        """
        check_whole("max_len", max_len, 1)
        self.skeleton.resize_length(max_len)
        self.smoother.resize_length(max_len)
        self.max_len = max_len

    def to_dict(self) -> dict[str, Any]:
        """Every option, in plain data, for the configuration of a model."""
        return {
            "dim": self.dim,
            "heads": self.heads,
            "max_len": self.max_len,
            "layer_index": self.layer_index,
            "selection_seed": self.skeleton.selection_seed,
            **self._options,
        }

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """A module of the options that :meth:`to_dict` gave, with weights of its own.

        >>> S3Attention.from_dict(S3Attention(16, 2, 32, preset="paper").to_dict()).smoother.stem.norm.axis
        'position'
        """
        return cls(**options)
