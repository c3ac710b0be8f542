"""Loading a checkpoint into an optimizer whose state is made when it is made.

``torch.optim.Optimizer.load_state_dict`` casts averages to the dtype of their parameters and takes whatever
shape it is given. Here a saved state is checked first, then copied into a fresh one, so that dtype, device
and placement stay and nothing changes where something does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from graftwork_optim_core.common.sharding import is_sharded_type, local_part

Saved = dict[str, Any]
State = dict[Tensor, dict[str, Any]]


def load_checked(
    optimizer: torch.optim.Optimizer,
    state_dict: Saved,
    load: Callable[[Saved], None],
    take: Callable[[Saved], tuple[list[dict[str, Any]], State]],
    finish: Callable[[], None] | None = None,
) -> None:
    """Load a state dict by way of torch, whose hooks run as ever, with the states made by ``take``.

    Args:
        optimizer: to load into.
        state_dict: as saved; hooks of others may replace it before it is taken.
        load: ``torch.optim.Optimizer.load_state_dict`` of the optimizer.
        take: returns the groups and the states to have, from a state dict; raises where it does not fit.
        finish: called once both are in place, before the hooks of others.
    """
    fresh: State = {}

    def take_state(_: torch.optim.Optimizer, incoming: Saved) -> Saved:
        groups, states = take(incoming)
        fresh.update(states)
        return {**incoming, "param_groups": groups, "state": {}}

    def put_state(_: torch.optim.Optimizer) -> None:
        optimizer.state.update(fresh)
        if finish is not None:
            finish()

    # Last before torch loads and first afterwards, so that hooks of others see what they would see anyway.
    before = optimizer.register_load_state_dict_pre_hook(take_state)
    after = optimizer.register_load_state_dict_post_hook(put_state, prepend=True)
    try:
        load(state_dict)
    finally:
        before.remove()
        after.remove()


def check_fits(name: str, saved: Mapping[str, Any], expected: Mapping[str, Any], needed_by: object) -> None:
    """Check that a saved state fits a weight.

    Args:
        name: the parameter's, for messages.
        saved: what is to be loaded.
        expected: a fresh state of the weight.
        needed_by: what needs the expected shapes, for messages.

    Raises:
        ValueError: something is missing or of another shape or kind.
    """
    for key, fresh in expected.items():
        if key not in saved:
            raise ValueError(f"the saved state of parameter {name!r} lacks {key!r}; it holds {sorted(saved)}")
        value = torch.as_tensor(saved[key])
        if value.shape != fresh.shape:
            raise ValueError(
                f"the saved {key!r} of parameter {name!r} has shape {tuple(value.shape)}, but "
                f"{needed_by} needs {tuple(fresh.shape)}; was it saved with other options, or by "
                "another optimizer?"
            )
        if is_sharded_type(fresh) != is_sharded_type(value):
            kinds = ("sharded", "a plain tensor") if is_sharded_type(value) else ("a plain tensor", "sharded")
            raise ValueError(
                f"the saved {key!r} of parameter {name!r} is {kinds[0]} and must be {kinds[1]} like the "
                "parameter; torch.distributed.checkpoint.state_dict.set_optimizer_state_dict converts it"
            )


def merged_groups(own: list[dict[str, Any]], saved: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return saved parameter groups with an optimizer's own options where they have none.

    ``state_dtype`` stays the optimizer's, where it is an option.

    Raises:
        ValueError: the numbers of groups or of their parameters differ.
    """
    if len(saved) != len(own):
        raise ValueError(f"the saved state has {len(saved)} parameter groups, this has {len(own)}")
    merged = []
    for index, (mine, group) in enumerate(zip(own, saved, strict=True)):
        if len(mine["params"]) != len(group["params"]):
            raise ValueError(
                f"parameter group {index} has {len(mine['params'])} parameters, the saved one "
                f"{len(group['params'])}"
            )
        options = {**{key: value for key, value in mine.items() if key != "params"}, **group}
        if "state_dtype" in mine:
            options["state_dtype"] = mine["state_dtype"]
        merged.append(options)
    return merged


def copy_loaded(saved: Mapping[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    """Copy a saved state, checked before, into a fresh one, whose dtypes and placement stay; return it."""
    for key, tensor in fresh.items():
        local_part(tensor).copy_(local_part(torch.as_tensor(saved[key])))
    return fresh
