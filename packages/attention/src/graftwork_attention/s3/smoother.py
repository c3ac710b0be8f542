"""The smoother of S3: Fourier convolution, then stem (arXiv:2408.08567, listing of the smoother)."""

from __future__ import annotations

from numbers import Integral

from torch import Tensor, nn

from graftwork_attention.heads import fitting
from graftwork_attention.masks import check_input, zeroed
from graftwork_attention.s3.presets import (
    Activation,
    FoldStem,
    KernelInit,
    Norm,
    check_choice,
    check_probability,
)
from graftwork_attention.s3.spectrum import FourierConvolution
from graftwork_attention.s3.stem import Stem


class Smoother(nn.Module):
    """A learned circular convolution over the whole sequence, mixed with the input by a short one.

    Args:
        dim: width of a token.
        max_len: the largest number of tokens; its length is that of the transforms.
        segments: groups of channels that are averaged before the convolution; divides ``dim``.
        stem_kernel: taps of the short convolution, odd.
        activation: ``relu``, ``elu`` or ``gelu``.
        norm: ``layer``, ``position_batch`` or ``channel_batch``.
        norm_eps: added to variances.
        kernel_init: ``kaiming-normal``, ``kaiming-uniform`` or ``scaled``.
        smoother_dropout: probability of dropout at the end.
        use_smoother: False leaves out the Fourier convolution.
        use_stem: False leaves out the short convolution, normalisation and activation.
        fold_stem: ``auto`` convolves in the spectrum where that was measured to be quicker.

    Raises:
        ValueError: a size or a word does not fit.
    """

    def __init__(
        self,
        dim: int,
        max_len: int,
        *,
        segments: int = 8,
        stem_kernel: int = 3,
        activation: Activation = "relu",
        norm: Norm = "layer",
        norm_eps: float = 1e-5,
        kernel_init: KernelInit = "kaiming-normal",
        smoother_dropout: float = 0.0,
        use_smoother: bool = True,
        use_stem: bool = True,
        fold_stem: FoldStem = "auto",
    ) -> None:
        super().__init__()
        whole: dict[str, object] = {"segments": segments, "stem_kernel": stem_kernel}
        for name, value in whole.items():
            if not isinstance(value, Integral):
                raise ValueError(f"{name} must be a whole number, got {value!r}")
        if segments < 1 or dim % segments:
            raise ValueError(
                f"segments must divide dim={dim}, got {segments}; {fitting(dim, segments)} would do"
            )
        if stem_kernel < 1 or stem_kernel % 2 == 0:
            raise ValueError(f"stem_kernel must be odd and at least 1, got {stem_kernel}")
        if norm_eps <= 0:
            raise ValueError(f"norm_eps must be above 0, got {norm_eps}")
        check_choice("activation", activation, ("relu", "elu", "gelu"))
        check_choice("norm", norm, ("layer", "position_batch", "channel_batch"))
        check_choice("kernel_init", kernel_init, ("kaiming-normal", "kaiming-uniform", "scaled"))
        check_choice("fold_stem", fold_stem, ("auto", "always", "never"))
        check_probability("smoother_dropout", smoother_dropout)
        self.dim, self.max_len = dim, max_len
        self.fourier = (
            FourierConvolution(dim, max_len, segments=segments, kernel_init=kernel_init)
            if use_smoother
            else None
        )
        self.stem = (
            Stem(
                dim,
                max_len,
                smooths=use_smoother,
                stem_kernel=stem_kernel,
                norm=norm,
                norm_eps=norm_eps,
                activation=activation,
                dropout=smoother_dropout,
                fold=fold_stem,
            )
            if use_stem
            else None
        )
        self.dropout = nn.Dropout(0.0 if use_stem else smoother_dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Smooth.

        Args:
            x: ``[batch, tokens, dim]``.
            mask: bool ``[batch, tokens]``, True where a token is real; None where all are.

        Returns:
            ``[batch, tokens, dim]``, zeros where a token is not real.

        Raises:
            ValueError: the input does not fit.
        """
        check_input(x, mask, mixer="Smoother", dim=self.dim, max_len=self.max_len)
        return zeroed(self.smooth(zeroed(x, mask), mask), mask)

    def smooth(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The same for an input that fits and is zero at padding; what comes out there means nothing."""
        if self.stem is not None:
            smoothed: Tensor = self.stem(x, mask, self.fourier)
            return smoothed
        if self.fourier is not None:
            x = self.fourier(x).transpose(1, 2)
        dropped: Tensor = self.dropout(x)
        return dropped

    def resize_length(self, max_len: int) -> None:
        """Take every weight that has a length to another."""
        self.max_len = max_len
        if self.fourier is not None:
            self.fourier.resize_length(max_len)
        if self.stem is not None:
            self.stem.norm.resize_length(max_len)
