"""Blocks of columns, and memory for what lives during one call, kept from call to call on a CPU.

An allocation of a megabyte comes from the system and goes back to it, which then clears it page by page for
the next call: on blocks that take a millisecond this cost up to half of it. A device's allocator keeps memory
itself. What is kept grows to the largest block asked for, a few MiB a thread.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

# Of one array of a block. Smaller ones cost more in calls than they save in memory traffic, larger ones leave
# the cache: of 2**13 to 2**22, 2**18 and 2**19 were fastest, for 8 to 64 agents and with 1 and 2 threads.
_CPU_ELEMENTS = 1 << 18
_DEVICE_ELEMENTS = 1 << 26

_kept = threading.local()


def block_width(rows: int, device: torch.device) -> int:
    """Return how many columns of so many rows make a block, so that it stays in the cache while it is used.

    >>> block_width(16, torch.device("cpu"))
    16384
    """
    elements = _CPU_ELEMENTS if device.type == "cpu" else _DEVICE_ELEMENTS
    return max(64, elements // max(1, rows))


def workspace(name: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a matrix of anything, which the next call of the same name and thread returns again.

    Args:
        name: of what it is for; two that are used at the same time differ in it.
        shape: of the matrix.
        dtype: of its elements.
        device: where.

    >>> first = workspace("sums", (2, 3), torch.float32, torch.device("cpu"))
    >>> workspace("sums", (1, 4), torch.float32, torch.device("cpu")).data_ptr() == first.data_ptr()
    True
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    arrays: dict[tuple[str, torch.dtype], Tensor] = _kept.__dict__.setdefault("arrays", {})
    elements = shape[0] * shape[1]
    array = arrays.get((name, dtype))
    if array is None or array.numel() < elements:
        array = arrays[name, dtype] = torch.empty(elements, dtype=dtype)
    return array[:elements].view(shape)
