"""Which tensors of a source are which of a model's: those of one name and one shape, and no guesses.

What wrappers add to names falls away: ``_orig_mod.`` of torch.compile, and ``module.`` of DataParallel where
all names begin with it. A model of transformers with a head says by ``base_model_prefix`` under which name it
has the body that others save alone. A layer that an adapter of peft's wraps takes what the plain one has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from graftwork_trainer.weights.source import Found

_COMPILED, _PARALLEL, _ADAPTED = "_orig_mod", "module.", "base_layer"


@dataclass(frozen=True, slots=True)
class Match:
    """What fits what.

    Args:
        taken: names in the source, by the model's.
        tied: groups of the model's names that are one tensor and have several in the source.
        missing: names of the model that the source has nothing for.
        misfits: of one name and another shape or kind of number: what is there and what is here.
        unused: names in the source.
        tensors: how many the model has.
        fitted: how many of them have theirs.
    """

    taken: Mapping[str, str]
    tied: Sequence[Sequence[str]]
    missing: Sequence[str]
    misfits: Mapping[str, tuple[Found, str]]
    unused: Sequence[str]
    tensors: int
    fitted: int


def match(model: nn.Module, tensors: Mapping[str, Found]) -> Match:
    """Find out which tensors fit a model.

    Args:
        model: on any device, the meta device too.
        tensors: that there are.
    """
    own: dict[str, Any] = model.state_dict(keep_vars=True)
    there = _named_as_here(tensors, own, getattr(model, "base_model_prefix", None))
    taken: dict[str, str] = {}
    misfits: dict[str, tuple[Found, str]] = {}
    sources = {name: there.get(_plain(name), there.get(_unwrapped(name))) for name in own}
    for name, value in own.items():
        if isinstance(value, Tensor) and (source := sources[name]) is not None:
            if _fits(value, tensors[source]):
                taken[name] = source
            else:
                misfits[name] = (tensors[source], _described(value))
    groups: dict[int, list[str]] = {}
    for name, value in own.items():
        groups.setdefault(id(value), []).append(name)
    fitted = [[name for name in group if name in taken] for group in groups.values()]
    used = {*taken.values(), *(sources[name] for name in misfits)}
    return Match(
        taken=taken,
        tied=[names for names in fitted if len({taken[name] for name in names}) > 1],
        missing=[
            name
            for group, names in zip(groups.values(), fitted, strict=True)
            for name in group
            if not names and name not in misfits
        ],
        misfits=misfits,
        unused=[name for name in tensors if name not in used],
        tensors=len(groups),
        fitted=sum(map(bool, fitted)),
    )


def _named_as_here(names: Collection[str], own: Collection[str], prefix: Any) -> dict[str, str]:
    """The names of a source, by what the model calls them."""
    plain = {name: _plain(name) for name in names}
    here = [_plain(name) for name in own]
    while plain and _all_within(plain.values(), _PARALLEL) and not _any_within(here, _PARALLEL):
        plain = {name: given.removeprefix(_PARALLEL) for name, given in plain.items()}
    if isinstance(prefix, str) and prefix:
        body = f"{prefix}."
        if _any_within(here, body) and not _any_within(plain.values(), body):
            known = set(here)
            plain = {name: f"{body}{given}" if given not in known else given for name, given in plain.items()}
        elif _any_within(plain.values(), body) and not _any_within(here, body):
            plain = {name: given.removeprefix(body) for name, given in plain.items()}
    return {given: name for name, given in plain.items()}


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != _COMPILED)


def _unwrapped(name: str) -> str:
    """The name of a layer's tensor before an adapter of peft's took the layer inside."""
    return _plain(name).replace(f".{_ADAPTED}.", ".")


def _all_within(names: Collection[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)


def _any_within(names: Collection[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _fits(value: Tensor, found: Found) -> bool:
    if is_lazy(value):
        return True
    return tuple(value.shape) == found.shape and _means_the_same(found.dtype, value.dtype)


def _means_the_same(there: torch.dtype, here: torch.dtype) -> bool:
    """Whether a number is the same in both, but for digits.

    Whole ones in the place of others, and those of eight bits, are multiples of a scale that lies elsewhere.
    """
    if there == here:
        return True
    if there.is_complex or here.is_complex:
        return here.is_complex and there.is_complex
    if there.is_floating_point != here.is_floating_point or torch.bool in (there, here):
        return False
    return not there.is_floating_point or min(there.itemsize, here.itemsize) > 1


def _described(value: Tensor) -> str:
    return str(Found(tuple(value.shape), value.dtype))
