"""A model's tensors and further state by the names of its state dict."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from graftwork import GraftworkError
from graftwork_trainer.checkpoint.bits import same_bits
from graftwork_trainer.checkpoint.encoding import Encoded, encode
from graftwork_trainer.checkpoint.geometry import local_piece
from graftwork_trainer.checkpoint.opened import Opened

_EXTRA = "_extra_state"


def model_state(model: nn.Module, tensors: dict[str, Tensor]) -> Encoded:
    """Return a model's state as data, its tensors by name.

    Raises:
        GraftworkError: something in it is no data.
    """
    with warnings.catch_warnings():
        # An optimizer may warn that these are not the weights to use: a checkpoint has its state beside them,
        # and weights to use are asked for in its evaluation mode.
        warnings.filterwarnings("ignore", r"model\.state_dict\(\) holds the weights at which")
        return encode(dict(model.state_dict()), "model", tensors)


@torch.no_grad()
def restore_model(model: nn.Module, checkpoint: Opened) -> None:
    """Put every tensor of a checkpoint into the model.

    Raises:
        GraftworkError: the model has others, or others of another shape or dtype; nothing has changed then.
    """
    # The very parameters, also where an optimizer has others shown in their place.
    saved, own = checkpoint.index.values["model"], model.state_dict(keep_vars=True)
    for name in [*saved, *own]:
        if name not in own or name not in saved:
            where = ("there and not in the model", "in the model and not there")[name not in saved]
            raise GraftworkError(f"is of another model: {name!r} is {where}")
        if is_lazy(own[name]):  # gets its shape from the first batch, which has been
            own[name].materialize(checkpoint.decoded(saved[name]).shape)
        if isinstance(own[name], Tensor):
            _check_fits(name, own[name], saved[name], checkpoint)
    for name, value in own.items():
        if not isinstance(value, Tensor):
            module = model.get_submodule(name.removesuffix(_EXTRA).removesuffix("."))
            module.set_extra_state(checkpoint.decoded(saved[name]))
            continue
        piece, local = local_piece(name, value)
        stored = stored_name(saved[name])
        taken = checkpoint.decoded(saved[name]) if stored is None else checkpoint.tensor(stored, piece)
        # One that is a view in which elements share memory cannot be written, and need not be where it is so.
        if not same_bits(local, taken):
            local.copy_(taken)


def _check_fits(name: str, own: Tensor, saved: Any, checkpoint: Opened) -> None:
    stored = stored_name(saved)
    found: Any
    if stored is None:
        found = checkpoint.decoded(saved)
        shape, dtype = tuple(getattr(found, "shape", ())), getattr(found, "dtype", type(found).__name__)
    else:
        entry = checkpoint.index.tensors[stored]
        shape, dtype = entry.shape, getattr(torch, entry.dtype)
    if (shape, dtype) != (tuple(own.shape), own.dtype):
        raise GraftworkError(
            f"is of another model: {name!r} is {dtype} of shape {shape} there and {own.dtype} of shape "
            f"{tuple(own.shape)} in the model"
        )


def stored_name(encoded: Any) -> str | None:
    """The name of a tensor in a checkpoint's files, by what its values say; None for what lies elsewhere.

    The order in memory is left aside: the tensor goes into one that has its own.
    """
    if not isinstance(encoded, dict):
        return None
    if "$ordered" in encoded:
        return stored_name(encoded["$ordered"][1])
    return encoded.get("$tensor")
