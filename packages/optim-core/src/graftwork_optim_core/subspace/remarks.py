"""What the options and shapes of groups make certain before the first step, and hardly anyone wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from graftwork_optim_core.common.parameters import matrix_shape
from graftwork_optim_core.subspace.plan import GroupPlans

_EXACT_BASES = ("svd", "gram")
_ELEMENTWISE_ROOTS = ("adamw", "adam8bit")

Group = tuple[Mapping[str, Any], Sequence[tuple[str, Tensor]]]
"""Options, and parameters with their names."""


def remarks_on(
    groups: Sequence[Group], bytes_of: Callable[[Tensor, Mapping[str, Any], str], int]
) -> Iterator[str]:
    """Yield a sentence for each, which counts the parameters of all groups and names the first.

    Args:
        groups: that were added together.
        bytes_of: what a parameter's state takes under some options, as
            :meth:`~graftwork_optim_core.SubspaceOptimizer.predicted_state_bytes`.
    """
    transformed = [
        (options, named, plans)
        for options, named in groups
        if not (plans := GroupPlans.of(options)).all_plain
    ]
    lacking = [
        name
        for _, named, plans in transformed
        for name, weight in named
        if weight.ndim > 0 and plans.lacks_dimensions(weight)
    ]
    if lacking:
        yield (
            f"{len(lacking)} parameters of fewer than two dimensions ({lacking[0]!r} first) make the "
            "plain step; param_groups(model) puts them into a group with plain=True"
        )
    # An empty weight has nothing to save, and of one alone the memory of others is predicted.
    projected = [
        (name, weight, options)
        for options, named, plans in transformed
        if "rank" in plans.transformed.transform.coordinates
        for name, weight in named
        if weight.numel() and not plans.lacks_dimensions(weight)
    ]
    yield from _without_saving(projected, bytes_of)
    if any(_diverges(options) for options, _, _ in transformed):
        yield (
            "side='full' with moments='project' and refresh_every=1 lets updates grow ten-thousandfold: in "
            "its own singular vectors every gradient is diagonal, so that beside the diagonal the second "
            "moment stays zero and the projected first one is divided by eps; take refresh_every=2 or more, "
            "or moments='keep'"
        )


def _without_saving(
    weights: Sequence[tuple[str, Tensor, Mapping[str, Any]]],
    bytes_of: Callable[[Tensor, Mapping[str, Any], str], int],
) -> Iterator[str]:
    """The weights whose averages and bases take no less than the averages of the whole weight would."""
    found = []
    for name, weight, options in weights:
        # Of a rank that no weight has, nothing is projected.
        whole = bytes_of(weight, {**options, "rank": max(1, *weight.shape)}, name)
        projected = bytes_of(weight, options, name)
        # Of a head of one row, or of Adafactor's own small state, no rank saves anything: nobody's mistake.
        if projected >= whole > bytes_of(weight, {**options, "rank": 1}, name):
            found.append((name, weight, options["rank"], projected, whole))
    if found:
        name, weight, rank, projected, whole = found[0]
        rows, columns = matrix_shape(weight)
        alike = all(one[2] == rank for one in found)
        yield (
            f"{len(found)} of {len(weights)} weights save no state at "
            f"{f'rank={rank}' if alike else f'their ranks, the first at {rank}'}: {name!r} of {rows} "
            f"x {columns}, for one, takes {projected:,} bytes, and without a projection {whole:,}; "
            "take a smaller rank"
        )


def _diverges(options: Mapping[str, Any]) -> bool:
    wanted = {"side": "full", "moments": "project", "refresh_every": 1}
    basis, all_random = options["transform"], options.get("random_last") == 1
    if basis == "golore" and not all_random:
        basis = options.get("early_basis")
    exact = basis in _EXACT_BASES and options["host"] in _ELEMENTWISE_ROOTS
    return exact and all(options.get(key) == value for key, value in wanted.items())
