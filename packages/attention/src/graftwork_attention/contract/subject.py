"""What is looked into: a mixer of small sizes, and inputs for it; the global generator is left as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from graftwork_attention.capabilities import Capabilities

DIM, HEADS, MAX_LEN = 16, 2, 24
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5}


class Subject:
    """A mixer that is built anew as often as a check wants one.

    Args:
        build: called with sizes and ``layer_index``.
    """

    def __init__(self, build: Callable[..., nn.Module]) -> None:
        self.build = build

    @property
    def capabilities(self) -> Capabilities:
        """What the mixer says of itself; any object with the attributes."""
        found: Any = getattr(self.module(), "capabilities", None)
        if found is None:
            raise AttributeError(
                "the module has no attribute capabilities (graftwork_attention.Capabilities)"
            )
        if lacking := [each.name for each in fields(Capabilities) if not hasattr(found, each.name)]:
            raise AttributeError(
                "its capabilities must be a graftwork_attention.Capabilities, or have the same attributes: "
                f"there is no {lacking[0]} in {found!r:.60}"
            )
        return found  # type: ignore[no-any-return]

    def module(
        self,
        *,
        seed: int = 0,
        layer_index: int = 0,
        dtype: torch.dtype = torch.float64,
        training: bool = False,
    ) -> nn.Module:
        """A fresh one, in evaluation mode unless ``training``.

        Args:
            seed: of the global generator while it is built.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            module = self.build(DIM, HEADS, MAX_LEN, layer_index=layer_index)
        return module.to(dtype).train(training)

    def modes(self) -> list[bool]:
        """Values of ``training`` in which a sample's output is its own: no batch norm, no dropout."""
        module = self.module(training=True)
        if any(hasattr(part, "running_mean") for part in module.modules()):
            return [False]
        x = inputs(2)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            steady = torch.equal(module(x), module(x))
        return [False, True] if steady else [False]


def inputs(batch: int, tokens: int = MAX_LEN, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal numbers ``[batch, tokens, 16]``."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(batch, tokens, DIM, dtype=torch.float64, generator=generator).to(dtype)


def real_first(lengths: Sequence[int], tokens: int = MAX_LEN) -> Tensor:
    """A mask with so many real tokens in front, per sample: padding trails."""
    return torch.arange(tokens)[None] < torch.tensor(lengths)[:, None]


def masks() -> dict[str, Tensor]:
    """Masks ``[3, 24]`` with padding behind, in front and inside, and one of each sample whole."""
    trailing = real_first((MAX_LEN, 11, 1))
    inside = torch.ones_like(trailing)
    inside[1, 3:9], inside[2, 1::2] = False, False
    return {"trailing": trailing, "leading": trailing.flip(1), "inside": inside}


def filled(x: Tensor, mask: Tensor, value: float) -> Tensor:
    """``x`` with a value at padding."""
    return x.masked_fill(~mask[..., None], value)


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest number expected; infinite where something is not finite.

    >>> difference(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]))
    0.25
    """
    if found.shape != expected.shape:
        raise ValueError(f"shape {list(found.shape)} where {list(expected.shape)} was expected")
    if not found.numel():
        return 0.0
    gap = (found - expected).abs().max() / expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return gap.item() if gap.isfinite() else float("inf")


def gradients(module: nn.Module, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gradients of a fixed weighted sum of outputs: by ``x``, and by all parameters in one row."""
    x = x.detach().clone().requires_grad_()
    module.zero_grad(set_to_none=True)
    y = module(x, mask)
    backward(weigh(y))
    assert x.grad is not None
    return x.grad, parameter_gradients(module)


def backward(loss: Tensor) -> None:
    """Fill in gradients; does nothing where nothing can get one."""
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]


def weigh(y: Tensor) -> Tensor:
    """A scalar that every output of a sample has a share of, at its own weight."""
    positions = torch.arange(y.shape[1] * y.shape[2], dtype=y.dtype).view(y.shape[1:])
    return (y * (1 + positions).cos()).sum()


def parameter_gradients(module: nn.Module) -> Tensor:
    """Gradients of all parameters in one row; zeros where there is none."""
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in module.parameters()]
    return torch.cat([torch.zeros(1, dtype=torch.float64), *parts])
