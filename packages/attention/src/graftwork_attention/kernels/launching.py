"""What every kernel needs to be chosen and launched: whether triton is there, devices, strides and sizes."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Any

import torch
from torch import Tensor

# Asked once at import, so that a compiler that traces the choice sees a constant.
HAS_TRITON = importlib.util.find_spec("triton") is not None

KERNEL_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
"""What the kernels compute on; other dtypes run the references."""


def runs_kernels(x: Tensor) -> bool:
    """Return whether operations on ``x`` run as kernels: on a CUDA device with triton, but for float64."""
    return HAS_TRITON and x.is_cuda and x.dtype in KERNEL_DTYPES


def device_of(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Make the tensor's device current: triton launches on that, wherever its arguments are."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


def rows_contiguous(tensor: Tensor) -> Tensor:
    """Return ``[batch, tokens, heads, width]`` with every token's numbers side by side, a copy if need be.

    A slice of a wider projection passes as it is: its tokens may lie at any distance.
    """
    width = tensor.shape[-1]
    if tensor.stride(-1) == 1 and (tensor.shape[-2] == 1 or tensor.stride(-2) == width):
        return tensor
    return tensor.contiguous()


def padded(length: int) -> int:
    """Return the power of two, 16 at least, that a product of tiles needs for a dimension."""
    return max(16, 1 << (length - 1).bit_length())


def split_count(tokens: int, tile: int, programs_per_split: int) -> int:
    """Return into how many parts a sum over tokens is cut: enough for twice an H100's processors.

    A constant, so that a sum is rounded alike on every device.
    """
    wanted = -(-264 // max(1, programs_per_split))
    return max(1, min(wanted, -(-tokens // tile)))
