"""Shorter dtypes, and torch's compilers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graftwork_attention.contract.check import ContractBroken, check
from graftwork_attention.contract.subject import (
    MAX_LEN,
    TOLERANCES,
    Subject,
    backward,
    difference,
    inputs,
    real_first,
    weigh,
)

_BFLOAT16_TOLERANCE = 0.1
"""Root of the mean square of a difference over that of what was expected: a step of bfloat16 is 2^-8."""


def _arguments(subject: Subject, dtype: torch.dtype) -> list[tuple[Tensor, ...]]:
    x = inputs(3, dtype=dtype)
    return [(x,), (x, real_first((MAX_LEN, 11, 1)))] if subject.capabilities.masks else [(x,)]


@check("bfloat16", "works when cast to bfloat16, and gives about what float32 gives")
def bfloat16(subject: Subject) -> None:
    module = subject.module(dtype=torch.bfloat16)
    exact = subject.module(dtype=torch.float32)
    exact.load_state_dict(module.state_dict())
    for arguments in _arguments(subject, torch.bfloat16):
        y = module(*arguments)
        if y.dtype != torch.bfloat16:
            raise ContractBroken(f"cast to bfloat16 it gives {y.dtype}")
        with torch.no_grad():
            _near(y, exact(arguments[0].float(), *arguments[1:]), "cast to bfloat16")
        _finite_gradients(module, y, "cast to bfloat16")


@check("autocast", "works under autocast to bfloat16, and gives about what it gives without")
def autocast(subject: Subject) -> None:
    module = subject.module(dtype=torch.float32)
    for arguments in _arguments(subject, torch.float32):
        with torch.autocast("cpu", torch.bfloat16):
            y = module(*arguments)
        with torch.no_grad():
            _near(y, module(*arguments), "under autocast")
        _finite_gradients(module, y, "under autocast")


@check("compile", "compiles as one graph, and not again for another batch of the same shape")
def compiles(subject: Subject) -> None:
    for index in range(len(_arguments(subject, torch.float64))):
        graphs = 0

        def backend(graph: torch.fx.GraphModule, example_inputs: Any) -> Callable[..., Any]:
            nonlocal graphs
            graphs += 1
            return graph.forward

        torch.compiler.reset()
        module = subject.module()
        compiled = torch.compile(module, fullgraph=True, backend=backend)
        x, *mask = _arguments(subject, torch.float64)[index]
        others = [(x, *mask), (inputs(3, seed=1), *[part.flip(0) for part in mask])]
        for arguments in others:
            gap = difference(compiled(*arguments), module(*arguments))
            if gap > TOLERANCES[torch.float64]:
                raise ContractBroken(f"compiled it gives outputs that differ by {gap:.1e}")
        if graphs != 1:
            raise ContractBroken(f"two batches of the same shape were compiled {graphs} times")


@check("export", "can be exported by torch.export, and the exported program gives the same")
def exports(subject: Subject) -> None:
    module = subject.module()
    for arguments in _arguments(subject, torch.float64):
        program = torch.export.export(module, arguments).module()
        others = (inputs(3, seed=1), *[part.flip(0) for part in arguments[1:]])
        gap = difference(program(*others), module(*others))
        if gap > TOLERANCES[torch.float64]:
            raise ContractBroken(f"exported it gives outputs that differ by {gap:.1e}")


def _near(found: Tensor, expected: Tensor, how: str) -> None:
    error = (found.float() - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    if not error < _BFLOAT16_TOLERANCE:
        raise ContractBroken(
            f"{how} its outputs differ from float32's by {error.item():.2f} of their size "
            f"({_BFLOAT16_TOLERANCE} is allowed)"
        )


def _finite_gradients(module: torch.nn.Module, y: Tensor, how: str) -> None:
    if not y.requires_grad:
        return
    module.zero_grad(set_to_none=True)
    backward(weigh(y.float()))
    for name, parameter in module.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise ContractBroken(f"{how} the gradient of {name} is not finite")


CHECKS = (bfloat16, autocast, compiles, exports)
