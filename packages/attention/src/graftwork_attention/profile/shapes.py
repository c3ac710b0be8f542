"""Widths and heads of known models, with the lengths at which a profile looks at them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a mixer would stand.

    Args:
        dim: width of a token.
        heads: of the model's attention.
        lengths: numbers of tokens, ascending.
        source: where width and heads are from.
    """

    dim: int
    heads: int
    lengths: tuple[int, ...]
    source: str = ""


_TEXT = (128, 512, 1024, 2048)
_PIXELS = (197, 577, 1025, 2305)

SHAPES: dict[str, Shape] = {
    "lra": Shape(64, 2, (512, 1024, 2048, 4096), "Long Range Arena's models in PyTorch, arXiv:2011.04006"),
    "minilm": Shape(384, 12, _TEXT, "all-MiniLM-L6-v2"),
    "distilbert": Shape(768, 12, _TEXT, "arXiv:1910.01108"),
    "bert-base": Shape(768, 12, _TEXT, "arXiv:1810.04805"),
    "bert-large": Shape(1024, 16, _TEXT, "arXiv:1810.04805"),
    "vit-s": Shape(384, 6, _PIXELS, "arXiv:2012.12877; 197 tokens are 224 pixels in patches of 16"),
    "vit-b": Shape(768, 12, _PIXELS, "arXiv:2010.11929; 197 tokens are 224 pixels in patches of 16"),
    "dinov2-s": Shape(384, 6, (257, 730, 1370, 2602), "arXiv:2304.07193; 1370 tokens are 518 pixels in 14s"),
}
"""Lengths reach beyond the models' own, since it is there that the question is asked."""
