"""What a group's options and shapes make certain before the first step, and hardly anyone wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from graftwork_optim_core.common.parameters import matrix_shape
from graftwork_optim_core.subspace.plan import GroupPlans

_EXACT_BASES = ("svd", "gram")
_ELEMENTWISE_ROOTS = ("adamw", "adam8bit")


def remarks_on(
    options: Mapping[str, Any],
    named: Sequence[tuple[str, Tensor]],
    bytes_of: Callable[[Tensor, Mapping[str, Any], str], int],
) -> Iterator[str]:
    """Yield a sentence for each.

    Args:
        options: a parameter group's.
        named: its parameters with their names.
        bytes_of: what a parameter's state takes under some options, as
            :meth:`~graftwork_optim_core.SubspaceOptimizer.predicted_state_bytes`.
    """
    plans = GroupPlans.of(options)
    if plans.all_plain:
        return
    lacking = [name for name, weight in named if weight.ndim > 0 and plans.lacks_dimensions(weight)]
    if lacking:
        yield (
            f"{len(lacking)} parameters of fewer than two dimensions ({lacking[0]!r} first) make the "
            "plain step; param_groups(model) puts them into a group with plain=True"
        )
    if "rank" in plans.transformed.transform.coordinates:
        matrices = [(name, weight) for name, weight in named if not plans.lacks_dimensions(weight)]
        # An empty weight has nothing to save, and of one alone the memory of others is predicted.
        weights = [(name, weight) for name, weight in matrices if weight.numel()]
        yield from _without_saving(options, weights, bytes_of)
    if _diverges(options):
        yield (
            "side='full' with moments='project' and refresh_every=1 lets updates grow ten-thousandfold: in "
            "its own singular vectors every gradient is diagonal, so that beside the diagonal the second "
            "moment stays zero and the projected first one is divided by eps; take refresh_every=2 or more, "
            "or moments='keep'"
        )


def _without_saving(
    options: Mapping[str, Any],
    weights: Sequence[tuple[str, Tensor]],
    bytes_of: Callable[[Tensor, Mapping[str, Any], str], int],
) -> Iterator[str]:
    """The weights whose averages and bases take no less than the averages of the whole weight would."""
    found = []
    for name, weight in weights:
        # Of a rank that no weight has, nothing is projected.
        whole = bytes_of(weight, {**options, "rank": max(1, *weight.shape)}, name)
        projected = bytes_of(weight, options, name)
        # Of a head of one row, or of Adafactor's own small state, no rank saves anything: nobody's mistake.
        if projected >= whole > bytes_of(weight, {**options, "rank": 1}, name):
            found.append((name, weight, projected, whole))
    if found:
        name, weight, projected, whole = found[0]
        rows, columns = matrix_shape(weight)
        yield (
            f"{len(found)} of {len(weights)} weights save no state at rank={options['rank']}: {name!r} of "
            f"{rows} x {columns}, for one, takes {projected:,} bytes, and without a projection {whole:,}; "
            "take a smaller rank"
        )


def _diverges(options: Mapping[str, Any]) -> bool:
    wanted = {"side": "full", "moments": "project", "refresh_every": 1}
    basis, all_random = options["transform"], options.get("random_last") == 1
    if basis == "golore" and not all_random:
        basis = options.get("early_basis")
    exact = basis in _EXACT_BASES and options["host"] in _ELEMENTWISE_ROOTS
    return exact and all(options.get(key) == value for key, value in wanted.items())
