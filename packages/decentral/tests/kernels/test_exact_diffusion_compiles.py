"""The kernels compiled ahead of time for devices that need not be there, from the calls that launch them.

A launch is recorded instead of made, so that what is compiled has the arguments of a real one.
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

from graftwork_decentral.kernels import exact_diffusion_triton  # noqa: E402

FLOAT, HALF, BRAIN = torch.float32, torch.float16, torch.bfloat16
NAMES = {FLOAT: "fp32", torch.float64: "fp64", BRAIN: "bf16", HALF: "fp16"}


def launch(agents: int, parameters: int, dtype: torch.dtype, moves: bool, gap: int) -> None:
    """Call the function that launches a kernel."""
    values, direction = (torch.zeros(agents, parameters + gap, dtype=dtype)[:, :parameters] for _ in "xg")
    correction = torch.zeros(agents, parameters + gap)[:, :parameters]
    exact_diffusion_triton.exact_diffusion(
        values,
        direction if moves else None,
        correction,
        torch.zeros((), dtype=torch.float64) if moves else None,
        torch.eye(agents, dtype=torch.float64),
    )


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
            signature[name], number = f"*{NAMES[value.dtype]}", value.data_ptr()
        else:
            signature[name], number = annotated[name], value
        if number % 16 == 0:
            attributes[(place,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, fixed, attributes)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., CompiledKernel]:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def compile_launch(
        capability: int,
        agents: int,
        dtype: torch.dtype = FLOAT,
        parameters: int = 4096,
        moves: bool = True,
        gap: int = 0,
    ) -> CompiledKernel:
        name = "_unrolled_kernel" if agents <= 16 else "_tiled_kernel"
        kernel = getattr(exact_diffusion_triton, name)
        recorded: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        class Recorder:
            def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
                assert grid[0] >= 1
                return lambda *values, **constants: recorded.append((values, constants))

        with monkeypatch.context() as patch:
            patch.setattr(exact_diffusion_triton, name, Recorder())
            launch(agents, parameters, dtype, moves, gap)
        ((values, constants),) = recorded
        options = {key: constants.pop(key) for key in ("num_warps", "enable_fp_fusion")}
        target = GPUTarget("cuda", capability, 32)
        return triton.compile(source_of(kernel, values, constants), target=target, options=options)

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


@pytest.mark.parametrize("dtype", [FLOAT, BRAIN], ids=str)
@pytest.mark.parametrize(
    ("capability", "agents"), [(80, 1), (90, 3), (80, 8), (90, 8), (90, 16), (80, 33), (80, 64), (90, 64)]
)
def test_a_step_compiles_into_registers_and_ieee_products(
    compiled: Callable[..., CompiledKernel],
    capability: int,
    agents: int,
    dtype: torch.dtype,
    tmp_path: Path,
) -> None:
    kernel = compiled(capability, agents, dtype)
    assert spilled_bytes(kernel, tmp_path) == 0
    assert re.search(rf"\.target sm_{capability}", kernel.asm["ptx"])
    # No tensor cores: they take float32 as TF32 only.
    assert count(r"mma|tf32", kernel) == 0
    assert count(r"fma\.rn\.f32", kernel) > 0 or agents == 1


def test_every_number_is_read_and_written_once(compiled: Callable[..., CompiledKernel]) -> None:
    """Unrolled, a thread has four columns of every agent, 16 bytes at a time."""
    for agents in (1, 3, 8):
        kernel = compiled(90, agents)
        assert count(r"ld\.global\.v4\.b32", kernel) == 3 * agents
        assert count(r"st\.global\.v4\.b32", kernel) == 2 * agents
        assert count(r"st\.global", kernel) == 2 * agents
        moved = compiled(90, agents, moves=False)
        assert count(r"ld\.global\.v4\.b32", moved) == 2 * agents


def test_a_tile_is_written_once_in_wide_accesses(compiled: Callable[..., CompiledKernel]) -> None:
    """A thread has 16 numbers of every array, written once; it reads them beside its share of the sum."""
    for agents in (32, 64):
        kernel = compiled(90, agents)
        assert count(r"st\.global", kernel) == count(r"st\.global\.v4\.b32", kernel) == 2 * 4
        assert 3 * 4 <= count(r"ld\.global\.v4\.b32", kernel) <= 3 * 4 + 4


@pytest.mark.parametrize("agents", [100, 256])
def test_many_agents_compile(compiled: Callable[..., CompiledKernel], agents: int, tmp_path: Path) -> None:
    kernel = compiled(90, agents)
    assert spilled_bytes(kernel, tmp_path) == 0
    assert count(r"mma|tf32", kernel) == 0


@pytest.mark.parametrize("agents", [3, 33])
@pytest.mark.parametrize(("parameters", "gap"), [(1001, 0), (13, 3)])
def test_ragged_rows_compile(
    compiled: Callable[..., CompiledKernel], agents: int, parameters: int, gap: int, tmp_path: Path
) -> None:
    kernel = compiled(90, agents, BRAIN, parameters, gap=gap)
    assert spilled_bytes(kernel, tmp_path) == 0
