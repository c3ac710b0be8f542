"""What follows the convolution of the stem: the operation, and which implementation runs where."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from graftwork_attention.kernels import stem_epilogue_reference


def stem_epilogue(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    *,
    norm: Literal["layer", "position", "channel"] = "layer",
    activation: Literal["relu", "elu", "gelu"] = "relu",
    eps: float = 1e-5,
    dropout: float = 0.0,
) -> Tensor:
    """Return ``dropout(activation(norm(x)))``, zero in padding.

    Args:
        x: ``[batch, tokens, dim]``; finite also in padding.
        weight: ``[tokens]`` for the norm ``position``, else ``[dim]``; ones if None.
        bias: likewise; zeros if None.
        mask: which tokens are no padding, bool ``[batch, tokens]``; all if None.
        norm: ``layer`` normalises every token over its channels; ``position`` and ``channel`` apply weight and
            bias as they are, to tokens or to channels (batch normalisation whose statistics are in them).
        activation: after the normalisation.
        eps: added to the variance of ``layer``.
        dropout: probability with which a number is dropped; 0 outside training.
    """
    return stem_epilogue_reference.stem_epilogue(
        *(x, weight, bias, mask), norm=norm, activation=activation, eps=eps, dropout=dropout
    )
