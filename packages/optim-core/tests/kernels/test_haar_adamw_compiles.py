"""The kernels compiled ahead of time for devices that need not be there, from the calls that launch them.

A launch is recorded instead of made, so that what is compiled has the arguments of a real one: their types,
and which of them are multiples of 16.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

triton = pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource, CompiledKernel  # noqa: E402

from graftwork_optim_core.kernels import haar_adamw_triton  # noqa: E402

FLOAT, DOUBLE, BRAIN = torch.float32, torch.float64, torch.bfloat16
NAMES = {FLOAT: "fp32", DOUBLE: "fp64", BRAIN: "bf16"}
SINGLE, DOUBLES, BRAINS, MIXED = (FLOAT,) * 3, (DOUBLE,) * 3, (BRAIN,) * 3, (BRAIN, BRAIN, FLOAT)
Dtypes = tuple[torch.dtype, torch.dtype, torch.dtype]
"""Of the weight, the gradient and the averages."""


def launch(name: str, rows: int, width: int, level: int, dtypes: Dtypes, guard: bool = True) -> None:
    """Call the function that launches a kernel."""
    weight, gradient, state = dtypes
    arithmetic = DOUBLE if weight == DOUBLE else FLOAT
    values, slope = torch.zeros(rows, width, dtype=weight), torch.zeros(rows, width, dtype=gradient)
    mean, mean_square = (torch.zeros(rows, -(-width // 2**level), dtype=state) for _ in range(2))
    factors, excess = torch.zeros(5, dtype=arithmetic), torch.zeros((), dtype=arithmetic)
    options: dict[str, Any] = {"level": level, "guard": guard, "eps": 1e-6, "maximize": False}
    matrices = (values, slope, mean, mean_square, factors)
    if name == "step":
        haar_adamw_triton.haar_adamw_step(*matrices, beta1=0.9, beta2=0.999, **options)
    elif name == "correct":
        haar_adamw_triton.haar_adamw_correct(*matrices, excess, **options)
    else:
        haar_adamw_triton.finite_extent(slope, level)


def source_of(kernel: Any, values: tuple[Any, ...], constants: dict[str, Any]) -> ASTSource:
    """Return what triton would compile for these arguments on a device."""
    signature: dict[str, str] = {}
    fixed: dict[str, Any] = {}
    attributes: dict[tuple[int], list[list[Any]]] = {}
    named = zip(
        kernel.arg_names, (*values, *(constants[n] for n in kernel.arg_names[len(values) :])), strict=True
    )
    for place, (name, value) in enumerate(named):
        if name in constants or (isinstance(value, int) and value == 1):
            signature[name], fixed[name] = "constexpr", value
            continue
        if isinstance(value, Tensor):
            signature[name], aligned = f"*{NAMES[value.dtype]}", value.data_ptr() % 16 == 0
        elif isinstance(value, int):
            signature[name], aligned = "i32" if value < 2**31 else "i64", value % 16 == 0
        else:
            signature[name], aligned = "fp64", False
        if aligned:
            attributes[(place,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, fixed, attributes)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., CompiledKernel]:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def compile_launch(capability: int, name: str, *arguments: Any, **options: Any) -> CompiledKernel:
        kernel = getattr(haar_adamw_triton, f"_{name}_kernel")
        recorded: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        class Recorder:
            def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
                assert grid[0] >= 1
                return lambda *values, **constants: recorded.append((values, constants))

        with monkeypatch.context() as patch:
            patch.setattr(haar_adamw_triton, f"_{name}_kernel", Recorder())
            launch(name, *arguments, **options)
        ((values, constants),) = recorded
        compiler_options = {key: constants.pop(key) for key in ("num_warps", "enable_fp_fusion")}
        return triton.compile(
            source_of(kernel, values, constants),
            target=GPUTarget("cuda", capability, 32),
            options=compiler_options,
        )

    return compile_launch


def spilled_bytes(kernel: CompiledKernel, path: Path) -> int:
    """Return how much a thread keeps in memory because it has too few registers."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        pytest.skip("this triton comes without cuobjdump")
    binary = path / "kernel.cubin"
    binary.write_bytes(kernel.asm["cubin"])
    usage = subprocess.run([tool, "-res-usage", binary], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:\d+ STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage)
    assert found is not None, usage
    return int(found[1]) + int(found[2])


@pytest.mark.parametrize(
    ("capability", "level", "dtypes"),
    [
        (80, 2, MIXED),
        *((90, 2, dtypes) for dtypes in (SINGLE, MIXED, BRAINS)),
        (90, 0, BRAINS),
        (90, 1, MIXED),
        (90, 3, SINGLE),
        (90, 6, SINGLE),
    ],
    ids=str,
)
def test_a_step_compiles_into_registers_and_wide_loads(
    compiled: Callable[..., CompiledKernel], capability: int, level: int, dtypes: Dtypes, tmp_path: Path
) -> None:
    kernel = compiled(capability, "step", 64, 1376, level, dtypes)
    assert spilled_bytes(kernel, tmp_path) == 0
    assembly = kernel.asm["ptx"]
    assert re.search(rf"\.target sm_{capability}", assembly)
    weight, gradient, state = (dtype.itemsize for dtype in dtypes)
    # A thread has 16 numbers of the weight and of the gradient, and reads them 16 bytes at a time.
    assert len(re.findall(r"st\.global\.v4\.b32", assembly)) >= weight
    assert len(re.findall(r"ld\.global\.v4\.b32", assembly)) >= weight + gradient
    if level <= 3:
        factors, averages = 5, 2 * max(1, state >> level)
        assert len(re.findall(r"ld\.global", assembly)) == weight + gradient + averages + factors
    if dtypes[0] == BRAIN:
        assert "cvt.rn.bf16" in assembly
    # Atomic sums would come in another order at every step.
    assert not re.search(r"\b(atom|red)\.", assembly)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("step", (64, 5461)),
        ("step", (300, 13)),
        ("step", (1, 64)),
        ("correct", (300, 13)),
        ("extent", (64, 5461)),
    ],
    ids=str,
)
def test_ragged_narrow_and_single_rows_compile(
    compiled: Callable[..., CompiledKernel], name: str, shape: tuple[int, int], tmp_path: Path
) -> None:
    assert spilled_bytes(compiled(90, name, *shape, 2, SINGLE), tmp_path) == 0


@pytest.mark.parametrize("name", ["step", "correct", "extent"])
def test_double_precision_and_the_deepest_level_compile(
    compiled: Callable[..., CompiledKernel], name: str, tmp_path: Path
) -> None:
    assert spilled_bytes(compiled(80, name, 64, 1376, 2, DOUBLES), tmp_path) == 0
    assert spilled_bytes(compiled(90, name, 8, 4096, haar_adamw_triton.DEEPEST_LEVEL, SINGLE), tmp_path) == 0


def test_the_published_rule_compiles(compiled: Callable[..., CompiledKernel], tmp_path: Path) -> None:
    assert spilled_bytes(compiled(90, "step", 64, 1376, 2, SINGLE, guard=False), tmp_path) == 0


def test_a_correction_looks_at_its_excess_before_it_loads_a_matrix(
    compiled: Callable[..., CompiledKernel],
) -> None:
    assembly = compiled(90, "correct", 64, 1376, 2, SINGLE).asm["ptx"]
    first_wide = re.search(r"ld\.global\.v4", assembly)
    assert first_wide is not None
    assert re.search(r"@%p\d+ bra", assembly[: first_wide.start()])


def test_double_arithmetic_keeps_its_constants(compiled: Callable[..., CompiledKernel]) -> None:
    intermediate = compiled(80, "step", 64, 1376, 1, DOUBLES).asm["ttir"]
    assert "0.70710678118654" in intermediate
    assert "f32" not in intermediate
