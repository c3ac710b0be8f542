"""Mixers for the self-attentions of a model, all of them built before any is put in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from graftwork import Choice, GraftworkError
from graftwork.plain_data import plain

# What a recipe chose, or any function of (dim, heads, max_len, *, layer_index).
Attention = Choice | Callable[..., nn.Module]


class Place(Protocol):
    """Where a mixer is wanted."""

    @property
    def sizes(self) -> tuple[int, int]:
        """Width of a token, and heads."""
        ...

    @property
    def weight(self) -> Tensor:
        """One of what stands there, for device and dtype."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """Options of an attention that what stands there has, where nothing else is said."""
        ...


@dataclass(frozen=True)
class Needs:
    """What a model asks of the mixers in it.

    Args:
        model: its class's name, for messages.
        max_len: tokens that it is made for; None where that cannot be read off it.
        masks: whether its batches are padded.
        any_length: whether the number of tokens differs from batch to batch.
    """

    model: str
    max_len: int | None
    masks: bool
    any_length: bool


@dataclass(frozen=True)
class Chosen:
    """An attention with what a model's own had, where nothing else was said.

    Args:
        attention: builds a mixer.
        max_len: the largest number of tokens.
        record: plain data from which the choice can be made again.
    """

    attention: Callable[..., nn.Module]
    max_len: int
    record: Mapping[str, Any]

    def mixer_for(self, site: Place, layer_index: int) -> nn.Module:
        """Build the mixer of one layer, of the dtype and on the device of what it replaces."""
        dim, heads = site.sizes
        weight = site.weight
        with _default_dtype(torch.float32), weight.device:
            mixer = self.attention(dim, heads, self.max_len, layer_index=layer_index)
        if not isinstance(mixer, nn.Module):
            raise GraftworkError(f"attention must build a torch.nn.Module, got {type(mixer).__name__}")
        return mixer.to(weight.dtype)


def chosen_for(sites: Sequence[Place], attention: Attention, needs: Needs, max_len: int | None) -> Chosen:
    """Complete a choice by what the model has: its length, the dropout and biases.

    Raises:
        GraftworkError: no length, or one that is none.
    """
    length = needs.max_len if max_len is None else max_len
    if length is None:
        raise GraftworkError(
            f"max_len must be given for {needs.model}, whose largest number of tokens cannot be read off it"
        )
    if not isinstance(length, int) or length < 1:
        raise GraftworkError(f"max_len must be a whole number of at least 1, got {length!r}")
    if not isinstance(attention, Choice):
        return Chosen(attention, length, {"max_len": length})
    inherited = attention.open_facts(sites[0].facts)
    given = {name: plain(value) for name, value in ({**attention.options, **inherited}).items()}
    choice = attention
    return Chosen(
        lambda *sizes, layer_index: choice(*sizes, layer_index=layer_index, **inherited),
        length,
        {
            "name": str(choice.table.get("name", choice.name)),
            "options": {name: value for name, value in given.items() if value is not None},
            "max_len": length,
        },
    )


def mixers_for(sites: Sequence[Place], chosen: Chosen, needs: Needs) -> list[nn.Module]:
    """Build a mixer for every self-attention, in order.

    Raises:
        GraftworkError: an option does not fit, or the mixer cannot do what the model asks of it.
    """
    try:
        mixers = [chosen.mixer_for(site, index) for index, site in enumerate(sites)]
    except ValueError as error:
        raise GraftworkError(f"{needs.model}: {error}") from error
    able = getattr(mixers[0], "capabilities", None)
    name = chosen.record.get("name", type(mixers[0]).__name__)
    if able is None:
        raise GraftworkError(f"attention {name} must say in capabilities what it can do, and has none")
    if needs.masks and not able.masks:
        raise GraftworkError(
            f"attention {name} takes no masks, and batches of {needs.model} are padded; take one whose "
            "capabilities say masks"
        )
    fixed = not needs.any_length and chosen.max_len == needs.max_len
    if not able.any_length and not fixed:
        raise GraftworkError(
            f"attention {name} takes max_len={chosen.max_len} tokens and no other number, and {needs.model} "
            "does not always have as many; take one whose capabilities say any_length"
        )
    return mixers


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
