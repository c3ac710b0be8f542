"""Less memory for more arithmetic: a block's activations are made again in the backward pass, not kept.

Models of transformers have a method for it. Of others the blocks are the members of a ``ModuleList`` or
``Sequential`` that are all of one class: each is run by ``torch.utils.checkpoint`` (not reentrant, with the
generators' states put back for dropout), under its own name, so that nothing of the model's state changes.
Both give the same gradients to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from graftwork import GraftworkError


def checkpoint_gradients(model: nn.Module) -> int:
    """Have a model make activations again in the backward pass.

    Args:
        model: as trained, before or after it is sharded, and before it is wrapped for DDP.

    Returns:
        How many modules do so.

    Raises:
        GraftworkError: it has no repeated blocks.
    """
    parts = list(_parts(model))
    if not parts:
        raise GraftworkError(
            f"trainer.gradient_checkpointing: {type(model).__name__} has no blocks that repeat (members of a "
            "ModuleList or Sequential, all of one class, with weights); leave it out"
        )
    for part in parts:
        if _checkpoints_itself(part):
            # The name of the method before transformers 6.
            enable = getattr(part, "activation_checkpointing_enable", part.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        else:
            part.forward = _Recomputed(part)
    return len(parts)


def _parts(model: nn.Module) -> Iterator[Any]:
    """Blocks, and models that know how; nothing inside another of them."""
    if _checkpoints_itself(model):
        yield model
        return
    for child in model.children():
        if isinstance(child, nn.ModuleList | nn.Sequential) and _repeats(child):
            yield from child
        else:
            yield from _parts(child)


def _checkpoints_itself(module: nn.Module) -> bool:
    # As transformers calls them; some of its models have the method and no blocks for it.
    able = getattr(module, "supports_gradient_checkpointing", False)
    return bool(able) and hasattr(module, "gradient_checkpointing_enable")


def _repeats(modules: nn.ModuleList | nn.Sequential) -> bool:
    members = list(modules)
    alike = len({type(member) for member in members}) == 1
    return len(members) > 1 and alike and any(True for _ in members[0].parameters())


class _Recomputed:
    """Takes the place of a block's ``forward``.

    Args:
        block: whose it is.
    """

    def __init__(self, block: nn.Module) -> None:
        self._block, self._forward = block, block.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the block; where a backward pass may follow, keep nothing but what went in."""
        if not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        buffers = list(self._block.buffers()) if self._block.training else []
        if not buffers:
            return checkpoint(self._forward, *args, use_reentrant=False, **kwargs)
        before = [buffer.clone() for buffer in buffers]

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _as_before(buffers, before)

        return checkpoint(self._forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


@contextmanager
def _as_before(buffers: list[Tensor], before: list[Tensor]) -> Iterator[None]:
    """Run a block again from the buffers that it began with (running statistics of a norm), which do not move
    a second time."""
    after = [buffer.clone() for buffer in buffers]
    _copy(before, buffers)
    try:
        yield
    finally:
        _copy(after, buffers)


def _copy(values: list[Tensor], buffers: list[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        # Past autograd's count of changes: whoever keeps a buffer for the backward pass finds what was there.
        buffer.data.copy_(value)
