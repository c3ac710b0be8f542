"""An optimizer's state by the names of the parameters that it belongs to.

What is saved is what the optimizer holds at that moment, and what is loaded is that and no more: no state is
made up to learn what it looks like, so that it does not matter when an optimizer makes its state.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_trainer.checkpoint.bits import same_bits
from graftwork_trainer.checkpoint.encoding import Encoded, decode, encode
from graftwork_trainer.checkpoint.geometry import is_sharded, piece_for, placed_as
from graftwork_trainer.checkpoint.opened import Opened
from graftwork_trainer.checkpoint.ranks import rank_and_size

# The loop sets them for every step, by the recipe that is trained now.
_RATES = ("lr", "initial_lr")


def group_options(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Encoded]]:
    """Return the options of every group of parameters as data, by the name of its first parameter.

    Raises:
        GraftworkError: the optimizer trains what is no parameter of the model.
    """
    names = _names(model)
    return {
        _name_in(names, group["params"][0]): _options_of(group)
        for group in optimizer.param_groups
        if group["params"]
    }


def optimizer_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    built_with: Mapping[str, Mapping[str, Encoded]],
    tensors: dict[str, Tensor],
) -> Encoded:
    """Return an optimizer's state as data.

    Args:
        model: holds the parameters.
        optimizer: over them.
        built_with: its :func:`group_options` when it was built.
        tensors: takes those of the state, by name.

    Raises:
        GraftworkError: something in it is no data.
    """
    names = _names(model)
    trained = _trained(optimizer)
    saved = optimizer.state_dict()
    by_name, rest = {}, {}
    for key, entry in saved["state"].items():
        if isinstance(key, int):
            name = _name_in(names, trained[key])
            by_name[name] = _encode_entry(entry, name, trained[key], tensors)
        else:
            rest[key] = entry
    groups = {
        _name_in(names, group["params"][0]): {
            "parameters": [_name_in(names, parameter) for parameter in group["params"]],
            "options": _options_of(packed),
            "built_with": built_with[_name_in(names, group["params"][0])],
        }
        for group, packed in zip(optimizer.param_groups, saved["param_groups"], strict=True)
        if group["params"]
    }
    further = {key: value for key, value in saved.items() if key not in ("state", "param_groups")}
    return {
        "state": by_name,
        "groups": groups,
        "rest": encode({"state": rest, "further": further}, "optimizer/rest", tensors),
    }


@torch.no_grad()
def restore_optimizer(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    built_with: Mapping[str, Mapping[str, Encoded]],
    checkpoint: Opened,
) -> None:
    """Put back the state of every parameter and what training made of the groups' options.

    An option that the recipe changed since, as ``built_with`` tells, has its new value; learning rates are
    left to the loop.

    Raises:
        GraftworkError: the state is of other parameters or groups, or the optimizer does not take it up.
    """
    names = _names(model)
    encoded = checkpoint.index.values["optimizer"]
    trained = _trained(optimizer)
    numbers = {_name_in(names, parameter): number for number, parameter in enumerate(trained)}
    saved_group = {name: group for group in encoded["groups"].values() for name in group["parameters"]}
    for name in [*saved_group, *numbers]:
        if name not in numbers or name not in saved_group:
            trains = "does not train" if name in saved_group else "trains, and which was not trained"
            raise GraftworkError(f"is of another optimizer: {name!r} is a weight that this one {trains}")
    states = {
        numbers[name]: _decode_entry(
            entry, trained[numbers[name]], optimizer.state.get(trained[numbers[name]], {}), checkpoint
        )
        for name, entry in encoded["state"].items()
    }
    rest = checkpoint.decoded(encoded["rest"])
    packed = optimizer.state_dict()["param_groups"]
    groups = []
    for own, group in zip(packed, optimizer.param_groups, strict=True):
        if not group["params"]:
            groups.append(own)
            continue
        members = [_name_in(names, parameter) for parameter in group["params"]]
        kept = _kept_options(built_with[members[0]], {name: saved_group[name] for name in members})
        groups.append({**own, **{key: checkpoint.decoded(value) for key, value in kept.items()}})
    states |= rest["state"]
    own_groups = _saves_its_groups(optimizer)
    try:
        optimizer.load_state_dict({"state": states, "param_groups": groups, **rest["further"]})
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise GraftworkError(f"holds optimizer state that does not fit: {_first_line(error)}") from error
    _see_it_taken_up(optimizer, states, groups, rest["further"], list(numbers))
    if own_groups and not _saves_its_groups(optimizer):
        raise GraftworkError(
            f"cannot be taken up: {type(optimizer).__name__}.load_state_dict leaves its param_groups "
            "behind, and with them every learning rate; after loading they must be those that it steps by"
        )


def _kept_options(
    built_with: Mapping[str, Encoded], saved: Mapping[str, Mapping[str, Any]]
) -> dict[str, Encoded]:
    """What training made of a group's options, and what the recipe has not changed since.

    Args:
        built_with: the group's options now, as the recipe has them.
        saved: the group that each of its parameters was in; a recipe that begins to decay weights, or ends
            to, groups them anew.

    Raises:
        GraftworkError: its parameters were in groups of which training had made different things.
    """
    groups = list({id(group): group for group in saved.values()}.values())
    kept = {}
    for key in dict.fromkeys(key for group in groups for key in group["options"] if key not in _RATES):
        now = [group["options"].get(key) for group in groups]
        before = [group["built_with"].get(key) for group in groups]
        if all(option == now[0] for option in now) and all(option == before[0] for option in before):
            if built_with.get(key) == before[0]:
                kept[key] = now[0]
        elif now != before:
            raise GraftworkError(
                f"holds groups of parameters whose option {key!r} training made different, and this "
                f"optimizer has {next(iter(saved))!r} and others in one group"
            )
    return kept


def _encode_entry(entry: Any, name: str, parameter: Tensor, tensors: dict[str, Tensor]) -> Encoded:
    """The state of one parameter; what each rank has for itself beside a shard stands under its rank."""
    taken: dict[str, Tensor] = {}
    encoded = encode(entry, f"optimizer/{name}", taken)
    rank, size = rank_and_size()
    if size == 1 or not is_sharded(parameter):
        tensors |= taken
        return encoded
    own = {key: f"{key}@{rank}" for key, tensor in taken.items() if not is_sharded(tensor)}
    tensors |= {own.get(key, key): tensor for key, tensor in taken.items()}
    return _renamed(encoded, own)


def _renamed(encoded: Encoded, names: Mapping[str, str]) -> Encoded:
    if isinstance(encoded, list):
        return [_renamed(item, names) for item in encoded]
    if isinstance(encoded, dict):
        if "$tensor" in encoded:
            return {"$tensor": names.get(encoded["$tensor"], encoded["$tensor"])}
        return {key: _renamed(value, names) for key, value in encoded.items()}
    return encoded


def _decode_entry(entry: Encoded, parameter: Tensor, existing: Any, checkpoint: Opened) -> Any:
    """The state of one parameter, spread over processes as the parameter is."""
    rank, size = rank_and_size()
    if size != checkpoint.processes and (private := _private(entry)):
        raise GraftworkError(
            f"holds {private!r} of each of {checkpoint.processes} processes, and these are {size}: "
            "start as many, or begin the optimizer anew with --allow optimizer"
        )

    def read(name: str) -> Tensor:
        stored = checkpoint.index.tensors[name]
        if not is_sharded(parameter):
            return checkpoint.tensor(name)
        there = existing.get(name.rpartition("/")[2]) if isinstance(existing, Mapping) else None
        spread = (
            is_sharded(there)
            if isinstance(there, Tensor)
            else stored.sharded or stored.shape == tuple(parameter.shape)
        )
        if not spread or "@" in name.rpartition("/")[2]:
            return checkpoint.tensor(name)
        local = checkpoint.tensor(name, piece_for(parameter, stored.shape))
        return placed_as(parameter, local.to(parameter.to_local().device), stored.shape)

    return decode(entry, read, rank)


def _private(encoded: Encoded, name: str = "") -> str | None:
    """The name of something that every rank has for itself."""
    if isinstance(encoded, dict):
        if "$ranks" in encoded:
            return name or "state"
        return next(filter(None, (_private(value, key) for key, value in encoded.items())), None)
    if isinstance(encoded, list):
        return next(filter(None, (_private(value, name) for value in encoded)), None)
    return None


def _see_it_taken_up(
    optimizer: torch.optim.Optimizer,
    states: Mapping[Any, Any],
    groups: Iterable[Mapping[str, Any]],
    further: Mapping[str, Any],
    names: list[str],
) -> None:
    """Give back dtypes that torch's loading casts to those of the weights; then compare bit for bit."""
    trained = _trained(optimizer)
    for number, state in states.items():
        if isinstance(number, int) and isinstance(state, Mapping):
            held = optimizer.state.get(trained[number])
            for key, value in state.items():
                if isinstance(held, dict) and key in held and _difference(value, held[key], key) is not None:
                    held[key] = _uncast(value, held[key])
    found = optimizer.state_dict()
    taken_up = [
        (state, found["state"].get(number), names[number] if isinstance(number, int) else str(number))
        for number, state in states.items()
    ]
    for saved, held, label in (*taken_up, *((value, found.get(key), key) for key, value in further.items())):
        if (missing := _difference(saved, held, label)) is not None:
            raise GraftworkError(
                f"holds {missing!r} of the optimizer, and {type(optimizer).__name__}.load_state_dict does "
                "not take it up; go on with an optimizer begun anew by --allow optimizer"
            )
    for group, wanted in zip(optimizer.param_groups, groups, strict=True):
        group.update({key: value for key, value in wanted.items() if key != "params"})


def _saves_its_groups(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the groups that one can change are those which it saves, as a wrapper's may not be."""
    mark = "_seen_by_graftwork"
    for group in optimizer.param_groups:
        group[mark] = True
    saved = optimizer.state_dict()["param_groups"]
    for group in optimizer.param_groups:
        del group[mark]
    return all(mark in group for group in saved)


def _uncast(saved: Any, held: Any) -> Any:
    """What was saved, on the devices where loading has put it."""
    if isinstance(saved, Tensor) and isinstance(held, Tensor):
        return saved.to(held.device)
    if isinstance(saved, Mapping) and isinstance(held, Mapping):
        return {key: _uncast(value, held.get(key)) for key, value in saved.items()}
    if isinstance(saved, list | tuple) and isinstance(held, list | tuple) and len(saved) == len(held):
        return type(saved)(_uncast(*pair) for pair in zip(saved, held, strict=True))
    return saved


def _difference(saved: Any, found: Any, name: str) -> str | None:
    """The name of what is not the same, bit for bit; None for nothing."""
    if isinstance(saved, Mapping):
        if not isinstance(found, Mapping):
            return name
        parts: Iterable[tuple[Any, Any, Any]] = ((key, value, found.get(key)) for key, value in saved.items())
    elif isinstance(saved, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(saved):
            return name
        parts = ((index, *pair) for index, pair in enumerate(zip(saved, found, strict=True)))
    else:
        return None if _same(saved, found) else name
    return next(filter(None, (_difference(a, b, f"{name}/{key}") for key, a, b in parts)), None)


def _same(saved: Any, found: Any) -> bool:
    if not isinstance(saved, Tensor) or not isinstance(found, Tensor):
        both_nan = saved != saved and found != found
        return type(saved) is type(found) and (bool(saved == found) or bool(both_nan))
    if saved.shape != found.shape:
        return False
    return same_bits(*(tensor.to_local() if is_sharded(tensor) else tensor for tensor in (saved, found)))


def _options_of(group: Mapping[str, Any]) -> dict[str, Encoded]:
    """Options as data; functions, which only the recipe can bring, are left out."""
    return {
        key: encode(value, f"option {key!r} of the optimizer", _Refused(key))
        for key, value in group.items()
        if key != "params" and not callable(value)
    }


class _Refused(dict[str, Tensor]):
    """Takes no tensor: an option with a dimension would be state in disguise."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key

    def __setitem__(self, name: str, value: Tensor) -> None:
        raise GraftworkError(
            f"option {self._key!r} of the optimizer is a tensor of shape {tuple(value.shape)}, and a "
            "checkpoint holds numbers there; keep it in the optimizer's state"
        )


def _names(model: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in model.named_parameters()}


def _name_in(names: Mapping[int, str], parameter: Tensor) -> str:
    try:
        return names[id(parameter)]
    except KeyError:
        raise GraftworkError(
            f"the optimizer trains a parameter of shape {tuple(parameter.shape)} that is not the model's: "
            "no checkpoint would hold it; make it one of the model that the task builds"
        ) from None


def _trained(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return list(itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
