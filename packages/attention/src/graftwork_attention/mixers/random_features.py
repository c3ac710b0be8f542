"""Random features of the softmax and ReLU kernels (arXiv:2009.14794), drawn from generators of their own."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def draw_orthogonal(count: int, width: int, *, seed: int, layer_index: int) -> Tensor:
    """Directions ω, each distributed as a standard normal vector, orthogonal in blocks of ``width``.

    The global generator is neither read nor moved. Each block is uniformly distributed over the orthogonal
    matrices, which the Q of a QR decomposition alone is not: LAPACK makes it by reflections that fix the sign
    of the first row, and estimates with such features are biased. Signs are therefore taken so that R has a
    positive diagonal. Lengths are drawn as those of normal vectors.

    Args:
        count: of directions.
        width: of a head.
        seed: chosen by the user.
        layer_index: gives every layer features of its own.

    Returns:
        float64 ``[count, width]`` on the CPU.
    """
    generator = torch.Generator("cpu").manual_seed((seed << 20) + layer_index)

    def normal(rows: int) -> Tensor:
        return torch.randn(rows, width, dtype=torch.float64, device="cpu", generator=generator)

    blocks = []
    for _ in range(math.ceil(count / width)):
        directions, triangle = torch.linalg.qr(normal(width))
        blocks.append((directions * triangle.diagonal().sign()).mT)
    lengths = normal(count).square().sum(1, keepdim=True).sqrt()
    return torch.cat(blocks)[:count] * lengths
