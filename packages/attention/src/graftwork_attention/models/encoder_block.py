"""One layer of an encoder around any mixer."""

from __future__ import annotations

from torch import Tensor, nn

from graftwork_attention.mixers.ranges import check_probability


class EncoderBlock(nn.Module):
    """A mixer and a perceptron, each behind a LayerNorm and beside a shortcut (arXiv:2002.04745, pre-norm).

        x <- x + dropout(mixer(LN(x)))
        x <- x + MLP(LN(x)),    MLP = linear, GELU, dropout, linear, dropout

    Args:
        dim: width of a token.
        mixer: any module ``mixer(x [batch, tokens, dim], mask)`` of that shape again, one of this package or
            not.
        hidden: width of the perceptron inside.
        dropout: share that training drops of what the mixer gives and inside the perceptron, in [0, 1).

    Raises:
        ValueError: an option is out of its range.

    >>> import torch
    >>> from graftwork_attention import S3Attention
    >>> EncoderBlock(16, S3Attention(16, heads=2, max_len=32), hidden=32)(torch.ones(1, 5, 16)).shape
    torch.Size([1, 5, 16])
    """

    def __init__(self, dim: int, mixer: nn.Module, *, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        for name, size in {"dim": dim, "hidden": hidden}.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        check_probability("dropout", dropout)
        self.dim = dim
        # What conversion to another mixer keeps of those before.
        self.kept: object = None
        self.mixer_norm = nn.LayerNorm(dim)
        self.mixer = mixer
        self.dropout = nn.Dropout(dropout)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix tokens, then change each by itself.

        Args:
            x: ``[batch, tokens, dim]``.
            mask: bool ``[batch, tokens]``, True where a token is real; None where all are.

        Returns:
            ``[batch, tokens, dim]``; what stands where a token is not real means nothing.
        """
        x = x + self.dropout(self.mixer(self.mixer_norm(x), mask))
        mixed: Tensor = x + self.mlp(self.mlp_norm(x))
        return mixed
