"""Parameter groups as users and schedulers change them: which keys they may hold, and what has changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from graftwork.errors import did_you_mean

_MEMBERS = ("params", "param_names")

_OF_OTHERS = frozenset(
    {"swa_lr", "base_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"}  # torch's schedulers
    | {"capturable", "differentiable", "foreach", "fused"}  # torch's optimizers
    | {"name", "group_name", "names", "layer_id", "tag"}  # Lightning, MMEngine, BEiT and those after it
    | {
        "lr_scale",
        "lr_mult",
        "lr_multiplier",
        "wd_mult",
        "wd_multiplier",
        "is_last_layer",
    }  # timm, Megatron, DINOv2
)
"""Names and factors that others put into groups for their own schedulers and logs: no step reads them."""

_SYNONYMS = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "decay": "weight_decay",
    "epsilon": "eps",
    "use_fallback": "plain",  # of timm's Muon
    "update_proj_gap": "refresh_every",  # of galore-torch, as transformers passes it on
    "proj_type": "side",
}


def options_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a group's options, without its parameters.

    >>> options_of({"params": [], "lr": 0.1})
    {'lr': 0.1}
    """
    return {key: value for key, value in group.items() if key not in _MEMBERS}


def refuse_unknown(keys: Iterable[str], known: Collection[str], whose: str) -> None:
    """Refuse keys that no step would look at.

    Names that begin with ``_`` or ``initial_`` are somebody else's notes, and left alone.

    Args:
        keys: of a parameter group.
        known: the options that there are.
        whose: the optimizer, for the message.

    Raises:
        ValueError: a key is unknown; the message says what was probably meant.

    >>> refuse_unknown(["learning_rate"], ["lr"], "GWTAdamW")
    Traceback (most recent call last):
    ValueError: a parameter group of GWTAdamW has no option 'learning_rate', did you mean 'lr'?
    """
    for key in keys:
        foreign = key in _OF_OTHERS or key.startswith(("_", "initial_"))
        if key in known or key in _MEMBERS or foreign:
            continue
        synonym = _SYNONYMS.get(key)
        meant = f", did you mean {synonym!r}?" if synonym in known else did_you_mean(key, known)
        raise ValueError(
            f"a parameter group of {whose} has no option {key!r}"
            + (meant or f"; its options are {', '.join(sorted(known))}, and notes of your own begin with '_'")
        )


class FollowedGroups:
    """The options of an optimizer's groups as its last step found them."""

    def __init__(self) -> None:
        self._seen: list[tuple[Mapping[str, Any], dict[str, Any]]] = []

    def remember(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Take the options as they are now."""
        self._seen = [(group, options_of(group)) for group in groups]

    def before(self, group: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options that a group had; those that it has, where it was put in by hand."""
        # By identity: groups may have been taken out or put in since, at any place.
        return next((options for seen, options in self._seen if seen is group), options_of(group))

    def changes(self, groups: Sequence[Mapping[str, Any]]) -> dict[int, set[str]]:
        """Return for every group that has changed the keys that are new, gone or of another value.

        A group that was put in by hand has changed, too, in no key.
        A tensor whose value was changed in place is the same tensor.

        >>> followed, group = FollowedGroups(), {"params": [], "lr": 0.1, "momentum": 0.0}
        >>> followed.remember([group])
        >>> group["momentum"] = 0.9
        >>> followed.changes([group])
        {0: {'momentum'}}
        """
        found: dict[int, set[str]] = {}
        options = {id(group): seen for group, seen in self._seen}
        for index, group in enumerate(groups):
            seen = options.get(id(group))
            if seen is None:
                found[index] = set()
                continue
            changed = {
                key
                for key, value in group.items()
                if key not in _MEMBERS and (key not in seen or not _same(value, seen[key]))
            }
            changed |= seen.keys() - group.keys()
            if changed:
                found[index] = changed
        return found


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return False
    try:
        return bool(one == other)
    except (TypeError, ValueError):  # of arrays, and of what compares with nothing
        return False
