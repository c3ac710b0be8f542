"""Matrix products in the precision of their arguments: no TF32, no bfloat16 passes, no autocast.

Mixing is repeated tens of thousands of times on nearly equal rows, whose differences a product of ten bits
would lose.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Switch off, for the body, what makes float32 products faster and coarser.

    The switch is the process's own: other threads that multiply meanwhile are exact too.

    Args:
        device: where the body multiplies.

    >>> torch.set_float32_matmul_precision("high")
    >>> with full_precision(torch.device("cpu")):
    ...     torch.get_float32_matmul_precision()
    'highest'
    >>> torch.get_float32_matmul_precision()
    'high'
    >>> torch.set_float32_matmul_precision("highest")
    """
    before = torch.get_float32_matmul_precision()
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)
