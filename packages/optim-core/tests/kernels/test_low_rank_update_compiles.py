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

from graftwork_optim_core.kernels import low_rank_update_triton  # noqa: E402

FLOAT, HALF, BRAIN = torch.float32, torch.float16, torch.bfloat16
NAMES = {FLOAT: "fp32", torch.float64: "fp64", torch.int64: "i64", torch.int32: "i32"}
KERNELS = {"perturb": "_update_kernel", "merge": "_update_kernel", "full": "_full_kernel"}


def launch(
    name: str,
    shape: tuple[int, int],
    dtype: torch.dtype,
    rank: int = 2,
    stochastic: bool = False,
    gap: int = 0,
) -> None:
    """Call the function that launches a kernel."""
    weights = [torch.zeros(shape[0], shape[1] + gap, dtype=dtype)[:, : shape[1]]]
    lefts, rights = [torch.zeros(shape[0], rank)], [torch.zeros(shape[1], rank)]
    number = torch.zeros((), dtype=torch.float64)
    rounding = torch.tensor([1, 2]) if stochastic else None
    drawn = (3, torch.tensor(5), [0], 0, [0])
    if name == "perturb":
        low_rank_update_triton.perturb_low_rank(weights, rights, number, *drawn, rounding)
    elif name == "merge":
        low_rank_update_triton.merge_low_rank(weights, lefts, rights, number, number, [0], [0], rounding)
    else:
        low_rank_update_triton.perturb_full(weights, number, *drawn)


def source_of(kernel: Any, values: tuple[Any, ...], constants: dict[str, Any]) -> ASTSource:
    """Return what triton would compile for these arguments on a device."""
    signature: dict[str, str] = {}
    fixed: dict[str, Any] = {}
    attributes: dict[tuple[int], list[list[Any]]] = {}
    annotated = {parameter.name: parameter.annotation_type for parameter in kernel.params}
    for place, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name], fixed[name] = "constexpr", constants[name]
            continue
        value = values[place]
        if isinstance(value, Tensor):
            signature[name] = f"*{NAMES[value.dtype]}"
            if value.data_ptr() % 16 == 0 and name in ("table", "target_of_tile"):
                attributes[(place,)] = [["tt.divisibility", 16]]
        else:
            # None of the numbers is specialized, so that 1 is no constant.
            signature[name] = annotated[name] or "i32"
    return ASTSource(kernel, signature, fixed, attributes)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., CompiledKernel]:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def compile_launch(capability: int, name: str, *arguments: Any, **options: Any) -> CompiledKernel:
        kernel = getattr(low_rank_update_triton, KERNELS[name])
        recorded: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        class Recorder:
            def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
                assert grid[0] >= 1
                return lambda *values, **constants: recorded.append((values, constants))

        with monkeypatch.context() as patch:
            patch.setattr(low_rank_update_triton, KERNELS[name], Recorder())
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


def count(pattern: str, kernel: CompiledKernel) -> int:
    return len(re.findall(pattern, kernel.asm["ptx"]))


@pytest.mark.parametrize(
    ("name", "capability", "rank", "dtype"),
    [
        ("perturb", 80, 2, BRAIN),
        ("perturb", 90, 1, BRAIN),
        ("perturb", 90, 2, HALF),
        ("perturb", 90, 16, FLOAT),
        ("merge", 80, 2, BRAIN),
        ("merge", 90, 2, FLOAT),
        ("merge", 90, 4, BRAIN),
        ("merge", 90, 16, BRAIN),
    ],
    ids=str,
)
def test_an_update_compiles_into_registers_and_wide_accesses(
    compiled: Callable[..., CompiledKernel],
    name: str,
    capability: int,
    rank: int,
    dtype: torch.dtype,
    tmp_path: Path,
) -> None:
    kernel = compiled(capability, name, (64, 1024), dtype, rank)
    assert spilled_bytes(kernel, tmp_path) == 0
    assert re.search(rf"\.target sm_{capability}", kernel.asm["ptx"])
    # A thread has 32 numbers of the weight: read once, written once, 16 bytes at a time.
    assert count(r"ld\.global\.v4\.b32", kernel) == 2 * dtype.itemsize
    assert count(r"st\.global\.v4\.b32", kernel) == 2 * dtype.itemsize
    assert count(r"st\.global", kernel) == 2 * dtype.itemsize


def test_a_thread_draws_one_number_of_u_a_pass(compiled: Callable[..., CompiledKernel]) -> None:
    """Ten rounds have twenty wide products; a number of U drawn by all threads of its row would have more."""
    for rank in (1, 2, 16):
        assert count(r"mul\.(hi|wide)\.u32", compiled(90, "perturb", (64, 1024), FLOAT, rank)) <= 20
    assert count(r"mul\.(hi|wide)\.u32", compiled(90, "merge", (64, 1024), FLOAT)) == 0


@pytest.mark.parametrize(
    ("name", "rank", "capability", "width"),
    [("perturb", 2, 90, 1024), ("perturb", 16, 80, 1001), ("merge", 2, 80, 1001), ("merge", 16, 90, 1024)],
)
def test_stochastic_rounding_compiles_into_registers(
    compiled: Callable[..., CompiledKernel], name: str, rank: int, capability: int, width: int, tmp_path: Path
) -> None:
    kernel = compiled(capability, name, (64, width), BRAIN, rank, stochastic=True)
    assert spilled_bytes(kernel, tmp_path) == 0


@pytest.mark.parametrize(("capability", "dtype"), [(80, FLOAT), (90, BRAIN), (90, HALF)], ids=str)
def test_a_full_perturbation_compiles_into_registers_and_wide_accesses(
    compiled: Callable[..., CompiledKernel], capability: int, dtype: torch.dtype, tmp_path: Path
) -> None:
    kernel = compiled(capability, "full", (64, 1024), dtype)
    assert spilled_bytes(kernel, tmp_path) == 0
    # A thread has 16 numbers of the weight.
    assert count(r"ld\.global\.v4\.b32", kernel) == dtype.itemsize
    assert count(r"st\.global\.v4\.b32", kernel) == dtype.itemsize
    # Four blocks of ten rounds of two wide products make the sixteen.
    assert count(r"mul\.(hi|wide)\.u32", kernel) <= 80


@pytest.mark.parametrize(
    ("name", "shape", "gap"),
    [
        ("perturb", (64, 5461), 0),
        ("perturb", (300, 13), 3),
        ("merge", (1, 7), 0),
        ("merge", (300, 13), 3),
        ("full", (64, 5461), 0),
        ("full", (300, 13), 3),
    ],
    ids=str,
)
def test_ragged_rows_compile(
    compiled: Callable[..., CompiledKernel], name: str, shape: tuple[int, int], gap: int, tmp_path: Path
) -> None:
    dtype = BRAIN if gap else FLOAT
    assert spilled_bytes(compiled(90, name, shape, dtype, gap=gap), tmp_path) == 0


@pytest.mark.parametrize("name", ["perturb", "full"])
def test_normal_numbers_are_exact_enough_to_be_those_of_the_cpu(
    compiled: Callable[..., CompiledKernel], name: str
) -> None:
    """No approximate logarithm or root, and an angle that is rounded before its quarters are taken off."""
    kernel = compiled(90, name, (64, 1024), FLOAT)
    assembly = kernel.asm["ptx"]
    assert "sqrt.rn" in assembly
    assert not re.search(r"(lg2|sqrt|sin|cos|rcp)\.approx", assembly)
    assert not re.search(r"\.local\b", assembly)
    # The hexadecimal of 2 pi / 2**24 in float32, which only multiplies.
    assert re.search(r"mul\.rn\.f32.*0f34C90FDB", assembly)
    assert not re.search(r"fma.*0f34C90FDB", assembly)


def test_weights_whose_rows_begin_anywhere_do_not_slow_the_others() -> None:
    """They have a launch of their own; of weights alike there is one launch."""
    whole = torch.zeros(8, 65)
    weights = [torch.zeros(4, 64), whole[:, :64], torch.zeros(4, 0), torch.zeros(3, 64), torch.zeros(4, 7)]
    targets = [low_rank_update_triton._target(weight, 0, 0, 3, 0) for weight in weights]
    parts = dict(low_rank_update_triton._by_alignment(targets, by_element=False))
    assert parts == {True: (targets[0], targets[3]), False: (targets[1], targets[4])}
    ((aligned, every),) = low_rank_update_triton._by_alignment(targets, by_element=True)
    assert not aligned
    assert len(every) == 4
