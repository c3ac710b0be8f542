"""Memory for what lives during one call, kept from call to call on a CPU.

An allocation of a megabyte comes from the system and goes back to it, which then clears it page by page for
the next call: on blocks that take a millisecond this cost up to half of it. A device's allocator keeps memory
itself. What is kept grows to the largest block asked for, a few MiB a thread.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

_kept = threading.local()


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
