"""For tests of Triton kernels: compile what a function would launch, for devices that need not be there.

A launch is recorded instead of made, so that what is compiled has the arguments of a real one: their types,
which of them are one, and which are multiples of 16. Needs triton, which these functions import; no torch:
a tensor is what has ``data_ptr`` and ``dtype``.
"""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

_POINTERS = {
    "float64": "*fp64",
    "float32": "*fp32",
    "float16": "*fp16",
    "bfloat16": "*bf16",
    "int64": "*i64",
    "int32": "*i32",
    "bool": "*i1",
}
_COMPILER_OPTIONS = ("num_warps", "num_stages", "maxnreg", "enable_fp_fusion")


class Launch(NamedTuple):
    """One call of a kernel.

    Args:
        kernel: as it stands in its module.
        grid: how many programs it was to have.
        arguments: by position.
        options: by name: constants, and what the compiler is told.
    """

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: dict[str, Any]


def launches(module: ModuleType, call: Callable[[], object]) -> list[Launch]:
    """Return what ``call`` launches of a module's kernels, none of which runs.

    Args:
        module: whose functions launch the kernels that stand in it.
        call: calls such functions, with tensors on the CPU.
    """
    found: list[Launch] = []
    with _recording(module, found):
        call()
    return found


@contextmanager
def _recording(module: ModuleType, found: list[Launch]) -> Iterator[None]:
    class Recorder:
        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            return lambda *arguments, **options: found.append(Launch(self.kernel, grid, arguments, options))

    kernel_type = importlib.import_module("triton").JITFunction
    kernels = {name: value for name, value in vars(module).items() if isinstance(value, kernel_type)}
    try:
        for name, kernel in kernels.items():
            setattr(module, name, Recorder(kernel))
        yield
    finally:
        for name, kernel in kernels.items():
            setattr(module, name, kernel)


def compiled(launch: Launch, capability: int) -> Any:
    """Return the ``CompiledKernel`` of a launch for an NVIDIA device; ``asm["ptx"]`` has its instructions.

    Args:
        launch: from :func:`launches`.
        capability: of the device: 80 for an A100, 90 for an H100.
    """
    triton, backends = importlib.import_module("triton"), importlib.import_module("triton.backends.compiler")
    named = dict(zip(launch.kernel.arg_names, launch.arguments, strict=False)) | launch.options
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    attributes: dict[tuple[int], list[list[Any]]] = {}
    for place, parameter in enumerate(launch.kernel.params):
        value, name = named[parameter.name], parameter.name
        if hasattr(value, "data_ptr"):
            signature[name] = _POINTERS[str(value.dtype).removeprefix("torch.")]
            multiple = not parameter.do_not_specialize_on_alignment and value.data_ptr() % 16 == 0
        elif parameter.is_constexpr or value is None or (value == 1 and not parameter.do_not_specialize):
            signature[name], constants[name] = "constexpr", value
            continue
        elif isinstance(value, int):
            signature[name] = parameter.annotation_type or ("i32" if -(2**31) <= value < 2**31 else "i64")
            multiple = not parameter.do_not_specialize and value % 16 == 0
        else:
            signature[name], multiple = parameter.annotation_type or "fp32", False
        if multiple:
            attributes[(place,)] = [["tt.divisibility", 16]]
    source = importlib.import_module("triton.compiler").ASTSource(
        launch.kernel, signature, constants, attributes
    )
    options = {name: launch.options[name] for name in _COMPILER_OPTIONS if name in launch.options}
    return triton.compile(source, target=backends.GPUTarget("cuda", capability, 32), options=options)


class Resources(NamedTuple):
    """What a kernel takes of a device.

    Args:
        registers: of a thread.
        spilled: bytes that a thread keeps in memory because it has too few registers.
        shared: bytes of a program.
    """

    registers: int
    spilled: int
    shared: int


def resources(kernel: Any, folder: Path) -> Resources | None:
    """Return what a compiled kernel takes, or None where triton came without the tool that says it.

    Args:
        kernel: from :func:`compiled`.
        folder: receives the machine code.
    """
    file = importlib.import_module("triton").__file__
    tool = Path(str(file)).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        return None
    binary = folder / "kernel.cubin"
    binary.write_bytes(kernel.asm["cubin"])
    usage = subprocess.run([tool, "-res-usage", binary], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage)
    if found is None:
        raise ValueError(f"cuobjdump said nothing of registers: {usage}")
    return Resources(int(found[1]), int(found[2]) + int(found[3]), kernel.metadata.shared)
