"""Launches that are recorded, and what of them reaches the compiler: with a triton that only takes notes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from graftwork.kernel_testing import Resources, compiled, launches, resources


class Kernel:
    """Stands for triton's ``JITFunction``."""

    def __init__(self, **parameters: str) -> None:
        self.arg_names = list(parameters)
        self.params = [
            SimpleNamespace(
                name=name,
                is_constexpr=kind == "constexpr",
                annotation_type="i64" if kind == "i64" else None,
                do_not_specialize=kind == "plain",
                do_not_specialize_on_alignment=kind == "anywhere",
            )
            for name, kind in parameters.items()
        ]


def tensor(dtype: str, address: int) -> Any:
    return SimpleNamespace(dtype=f"torch.{dtype}", data_ptr=lambda: address)


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    module: Any = ModuleType("triton")
    module.__file__ = str(tmp_path / "triton" / "__init__.py")
    module.JITFunction = Kernel
    module.compile = lambda source, target, options: SimpleNamespace(
        source=source, target=target, options=options
    )
    compiler, backends = (ModuleType(f"triton.{name}") for name in ("compiler", "backends.compiler"))
    compiler.ASTSource = lambda *arguments: arguments  # type: ignore[attr-defined]
    backends.GPUTarget = lambda *arguments: arguments  # type: ignore[attr-defined]
    for each in (module, compiler, backends):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    return module


def module_with(kernel: Any) -> Any:
    module: Any = ModuleType("kernels")
    module.kernel, module.other = kernel, 3
    module.run = lambda: module.kernel[(4,)](
        *(tensor("bfloat16", 32), tensor("float32", 32), tensor("bool", 8), 1, 1, 32, 2**40, 7, 0.5),
        width=64,
        num_warps=8,
    )
    return module


PARAMETERS = {
    **{"x": "", "scale": "anywhere", "mask": "", "one": "", "plain_one": "plain", "rows": "", "far": ""},
    **{"seed": "i64", "eps": "", "width": "constexpr"},
}


def test_a_launch_is_recorded_and_not_made(triton: ModuleType) -> None:
    kernel = Kernel(**PARAMETERS)
    module = module_with(kernel)
    (found,) = launches(module, module.run)
    assert (found.kernel, found.grid, len(found.arguments)) == (kernel, (4,), 9)
    assert found.options == {"width": 64, "num_warps": 8}
    assert module.kernel is kernel


def test_kernels_come_back_after_a_failure(triton: ModuleType) -> None:
    kernel = Kernel()
    module = module_with(kernel)
    with pytest.raises(ZeroDivisionError):
        launches(module, lambda: 1 // 0)
    assert module.kernel is kernel


def test_the_compiler_is_told_what_a_launch_would_tell_it(triton: ModuleType) -> None:
    module = module_with(Kernel(**PARAMETERS))
    (found,) = launches(module, module.run)
    made = compiled(found, 80)
    _, signature, constants, attributes = made.source
    assert signature == {
        **{"x": "*bf16", "scale": "*fp32", "mask": "*i1", "one": "constexpr", "plain_one": "i32"},
        **{"rows": "i32", "far": "i64", "seed": "i64", "eps": "fp32", "width": "constexpr"},
    }
    assert constants == {"one": 1, "width": 64}
    # Aligned: x, whose address is a multiple of 16, and the numbers that are; not scale, which need not be.
    assert [place for (place,) in attributes] == [0, 5, 6]
    assert made.target == ("cuda", 80, 32)
    assert made.options == {"num_warps": 8}


def test_registers_are_read_off_the_tool(triton: ModuleType, tmp_path: Path) -> None:
    kernel = SimpleNamespace(asm={"cubin": b"code"}, metadata=SimpleNamespace(shared=1024))
    assert resources(kernel, tmp_path) is None
    tool = tmp_path / "triton/backends/nvidia/bin/cuobjdump"
    tool.parent.mkdir(parents=True)
    usage = "echo REG:40 STACK:8 SHARED:0 LOCAL:4"
    for line, expected in ((usage, Resources(40, 12, 1024)), ("echo nothing", None)):
        tool.write_text(f"#!/bin/sh\n{line}\n", "utf-8")
        tool.chmod(0o755)
        if expected is None:
            with pytest.raises(ValueError, match="cuobjdump said nothing of registers: nothing"):
                resources(kernel, tmp_path)
        else:
            assert resources(kernel, tmp_path) == expected
