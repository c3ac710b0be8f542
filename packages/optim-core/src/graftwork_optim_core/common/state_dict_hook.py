"""A word of ``model.state_dict()`` where an optimizer trains at other weights than those to use.

In training a state dict of the model holds the very bits that are trained, with which, and the optimizer's
own state dict, training goes on exactly. That these are not the weights to use is said once. In the
optimizer's evaluation mode it holds the weights that are evaluated, and there is nothing to say.
"""

from __future__ import annotations

import warnings
import weakref
from contextlib import nullcontext
from typing import Any, Protocol

from torch import nn
from torch.utils.hooks import RemovableHandle


class TrainsElsewhere(Protocol):
    """An optimizer whose model holds other weights in training than it is evaluated at."""

    def trains_elsewhere(self) -> bool:
        """Whether the parameters hold others at this moment."""
        ...


class StateDictHook:
    """Called behind the ``state_dict`` of a module. Copies and pickles of the module have no such hook.

    Args:
        optimizer: not kept alive.
    """

    def __init__(self, optimizer: TrainsElsewhere) -> None:
        self._optimizer: weakref.ref[TrainsElsewhere] | None = weakref.ref(optimizer)

    def __call__(self, module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        optimizer = None if self._optimizer is None else self._optimizer()
        if optimizer is None or not optimizer.trains_elsewhere():
            return
        self._optimizer = None
        warnings.warn(
            f"model.state_dict() holds the weights at which {type(optimizer).__name__} trains, to go on from "
            "with optimizer.state_dict(); for the weights to use call optimizer.eval() before it and "
            "optimizer.train() behind it",
            stacklevel=3,
        )

    def __reduce__(self) -> tuple[Any, tuple[nullcontext[None], str]]:
        # Something of Python's own that takes anything and does nothing: what torch.save(model) has written
        # is loaded where this package is not installed.
        return getattr, (nullcontext(), "__exit__")


class StateDictHooks:
    """The hooks of one optimizer on the model that it was given last, and on all modules within it.

    A copy has none: it is to hook the copy of the model.
    """

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def move_to(self, model: nn.Module, optimizer: TrainsElsewhere) -> None:
        """Take the hooks off where they are, and put them on a model."""
        for handle in self._handles:
            handle.remove()
        hook = StateDictHook(optimizer)
        holding = [one for one in model.modules() if next(one.parameters(recurse=False), None) is not None]
        self._handles = [one.register_state_dict_post_hook(hook) for one in holding]  # type: ignore[no-untyped-call]

    def __reduce__(self) -> tuple[type[StateDictHooks], tuple[()]]:
        return StateDictHooks, ()
