"""Of which dtype the factors of a kernel's products are."""

from __future__ import annotations

import os
from typing import Any

import torch
import triton.language as tl  # type: ignore[import-untyped, import-not-found, unused-ignore]

_TYPES = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


def product_type(dtype: torch.dtype) -> Any:
    """Return triton's name of ``dtype``; in its interpreter, which cannot multiply bfloat16, of float32."""
    if os.environ.get("TRITON_INTERPRET") == "1" and dtype == torch.bfloat16:
        return tl.float32
    return _TYPES[dtype]
