"""The kernels compiled ahead of time for devices that need not be there, from the calls that launch them.

Of ``kernels/skeleton_triton.py``, ``kernels/channel_gram_triton.py`` and ``kernels/stem_epilogue_triton.py``,
with the tiles that these choose; of skeleton attention for the widths and dtypes that choose differently.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

from graftwork.kernel_testing import Launch, compiled, launches, resources
from graftwork_attention.kernels import (
    channel_gram_triton,
    skeleton_triton,
    stem_epilogue_triton,
)

FLOAT, HALF, BRAIN = torch.float32, torch.float16, torch.bfloat16
BATCH, TOKENS, HEADS = 2, 4096, 4


def skeleton(width: int, landmarks: int, channels: int, dtype: torch.dtype, masked: bool) -> list[Launch]:
    """Return the four launches of skeleton attention, forward first."""
    q, chosen = (torch.empty(BATCH, TOKENS, HEADS, size, dtype=dtype) for size in (width, channels))
    keys, values = torch.empty(2, BATCH, HEADS, landmarks, width, dtype=dtype)
    weights = torch.empty(BATCH, HEADS, width, channels, dtype=dtype)
    valid = torch.ones(BATCH, landmarks, dtype=torch.bool) if masked else None
    affine = torch.ones(HEADS * width)

    def call() -> None:
        inputs = (q, keys, values, chosen, weights, valid)
        y, statistics = skeleton_triton.forward(*inputs, affine, affine, affine, affine, 1e-5, 0.1)
        skeleton_triton.backward(y, *inputs, affine, affine, statistics, 0.1)

    return launches(skeleton_triton, call)


def gram(width: int, channels: int, dtype: torch.dtype) -> list[Launch]:
    q, k = (torch.empty(BATCH, TOKENS, HEADS, size, dtype=dtype) for size in (width, channels))
    mask = torch.ones(BATCH, TOKENS, dtype=torch.bool)

    def call() -> None:
        channel_gram_triton.backward(channel_gram_triton.forward(q, k, mask), q, k, mask)

    return launches(channel_gram_triton, call)


def epilogue(norm: str, activation: str, dim: int, dtype: torch.dtype, dropout: float) -> list[Launch]:
    x = torch.empty(BATCH, TOKENS, dim, dtype=dtype)
    affine = torch.ones(TOKENS if norm == "position" else dim)
    given = (
        affine,
        affine,
        torch.ones(BATCH, TOKENS, dtype=torch.bool),
        torch.tensor([1]) if dropout else None,
    )

    def call() -> None:
        y = stem_epilogue_triton.forward(x, *given, norm, activation, 1e-5, dropout)
        stem_epilogue_triton.backward(y, x, *given, norm, activation, 1e-5, dropout)

    return launches(stem_epilogue_triton, call)


@pytest.fixture
def spilled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Launch, int], int]:
    """Compile a launch for a device; return what a thread keeps in memory for want of registers."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def compile_launch(launch: Launch, capability: int) -> int:
        kernel = compiled(launch, capability)
        assert re.search(rf"\.target sm_{capability}", kernel.asm["ptx"])
        found = resources(kernel, tmp_path)
        if found is None:
            pytest.skip("this triton comes without cuobjdump")
        # What a program of an A100 may have.
        assert found.shared <= 163 * 1024
        return found.spilled

    return compile_launch


@pytest.mark.parametrize("kernel", range(4), ids=["forward", "rows", "landmarks", "channels"])
@pytest.mark.parametrize(
    ("capability", "arguments"),
    [(80, (64, 8, 8, FLOAT, False)), (90, (128, 128, 128, BRAIN, True))],
    ids=str,
)
def test_skeleton_attention_compiles_into_registers(
    spilled: Callable[[Launch, int], int], capability: int, arguments: Any, kernel: int
) -> None:
    assert spilled(skeleton(*arguments)[kernel], capability) == 0


# The rest of what chooses tiles takes minutes: where a device is to run them.
@pytest.mark.gpu
@pytest.mark.parametrize("kernel", range(4), ids=["forward", "rows", "landmarks", "channels"])
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    ("sizes", "dtype"),
    [
        *itertools.product(((16, 8, 1), (32, 128, 32), (64, 17, 8), (64, 128, 64)), (FLOAT, HALF, BRAIN)),
        # Of float32, wider heads than 64 run the reference.
        *itertools.product(((128, 8, 8), (128, 17, 128), (128, 128, 128)), (HALF, BRAIN)),
    ],
    ids=str,
)
def test_skeleton_attention_of_all_sizes_compiles_into_registers(
    spilled: Callable[[Launch, int], int], sizes: Any, dtype: torch.dtype, capability: int, kernel: int
) -> None:
    assert spilled(skeleton(*sizes, dtype, True)[kernel], capability) == 0


@pytest.mark.parametrize(
    ("capability", "arguments"), [(80, (64, 8, BRAIN)), (90, (128, 128, FLOAT)), (90, (32, 8, HALF))], ids=str
)
def test_channel_gram_compiles_into_registers(
    spilled: Callable[[Launch, int], int], capability: int, arguments: Any
) -> None:
    assert [spilled(launch, capability) for launch in gram(*arguments)] == [0, 0]


@pytest.mark.parametrize(
    ("capability", "arguments"),
    [
        (80, ("layer", "relu", 512, BRAIN, 0.1)),
        (90, ("layer", "gelu", 4096, FLOAT, 0.0)),
        (90, ("position", "elu", 64, HALF, 0.5)),
        (90, ("channel", "relu", 768, FLOAT, 0.0)),
    ],
    ids=str,
)
def test_stem_epilogue_compiles_into_registers(
    spilled: Callable[[Launch, int], int], capability: int, arguments: Any
) -> None:
    assert [spilled(launch, capability) for launch in epilogue(*arguments)] == [0, 0]
