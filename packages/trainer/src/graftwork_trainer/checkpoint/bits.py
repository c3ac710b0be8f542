"""Whether tensors are the same bit for bit, where ``==`` tells zeros from no sign, and NaN from itself."""

from __future__ import annotations

import torch
from torch import Tensor


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors, both whole in this process, agree in dtype, shape and every bit."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(_bytes(one), _bytes(other))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().resolve_conj().contiguous().reshape(-1).view(torch.uint8)
