"""The four linear maps of a softmax attention: to queries, keys, values, and to the output.

Maps are named tensors, ``query.weight`` [dim, dim], ``query.bias`` [dim] and so on, whatever they are called
where they come from. A mixer has a place for them where one of its parts, or it itself, has linear maps
``query``, ``key``, ``value`` and perhaps ``output`` of these shapes: all that reuse them do, and S3 and
Linformer, for which they are where training starts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from graftwork_attention.plain_maps import is_plain

NAMES = ("query", "key", "value", "output")


def places_in(mixer: nn.Module, dim: int) -> dict[str, nn.Parameter]:
    """A mixer's own maps, by name; empty where it has no such."""
    for part in mixer.modules():
        found = {name: getattr(part, name, None) for name in NAMES}
        if all(_is_square(found[name], dim) for name in NAMES[:3]):
            return {
                f"{name}.{parameter}": tensor
                for name, linear in found.items()
                if linear is not None and _is_square(linear, dim)
                for parameter, tensor in linear.named_parameters()
            }
    return {}


def _is_square(linear: object, dim: int) -> bool:
    return isinstance(linear, nn.Linear) and is_plain(linear) and linear.weight.shape == (dim, dim)


@torch.no_grad()
def put_into(mixer: nn.Module, dim: int, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Start a mixer from maps.

    A bias that only the mixer has is zero, so that what it adds to the maps is nothing yet.

    Returns:
        The maps that it has no place for.
    """
    left = dict(maps)
    for name, place in places_in(mixer, dim).items():
        given = left.pop(name, None)
        if given is not None:
            place.copy_(given)
        elif name.replace("bias", "weight") in maps:
            place.zero_()
    return left


def taken_from(mixer: nn.Module, dim: int, aside: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The maps that a mixer was started from, as they are now; those that it has no place for unchanged."""
    return {name: place.detach() for name, place in places_in(mixer, dim).items()} | dict(aside)
