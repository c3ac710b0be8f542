"""Predicts how long every way of mixing takes, and names the fastest.

The time of a path is the sum over its operations of a cost a call and a cost an element, which
:mod:`~.calibration` measures, and for the products a cost a multiplication. How many operations there are
follows from the plan and the number of parameters:

    gathered   one a block and neighbour: [rows that have so many neighbours, columns]
    rowwise    one a block and edge: [columns]
    dense      a product and two passes over it a block
    plain      one product, or one a block of a narrower dtype

Each neighbour's operation stands for the three or four that it consists of. Narrower dtypes add a pass over
what is read and one over what is written. All times are seconds, and without the time to allocate the result,
which is the same for all.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

from graftwork_decentral.communication.paths.blocks import work_dtype
from graftwork_decentral.communication.paths.calibration import Calibration, calibrated
from graftwork_decentral.communication.paths.gathered import kth_neighbours
from graftwork_decentral.communication.paths.plan import MixPlan
from graftwork_decentral.communication.paths.rowwise import row_width
from graftwork_decentral.kernels.workspace import block_width

PathName = Literal["gathered", "rowwise", "dense", "plain"]
PATHS: tuple[PathName, ...] = get_args(PathName)
ANY_WEIGHTS: tuple[PathName, ...] = ("gathered", "rowwise", "dense")
"""Those that keep the mean over agents whatever the weights."""

DIFFERENCES: tuple[PathName, ...] = ("gathered", "rowwise")
"""Equal bit for bit."""


def cheapest(
    plan: MixPlan,
    parameters: int,
    dtype: torch.dtype,
    *,
    among: tuple[PathName, ...] = ANY_WEIGHTS,
) -> PathName:
    """Return the path with the least predicted time.

    Args:
        plan: whose rows are mixed.
        parameters: columns of what is mixed.
        dtype: of what is mixed.
        among: to choose from.

    >>> half = torch.full((2, 1), 0.25, dtype=torch.float64)
    >>> plan = MixPlan(torch.arange(2), torch.tensor([[1], [0]]), half, torch.zeros(2, 2))
    >>> cheapest(plan, 10, torch.float32, among=("gathered",))
    'gathered'
    """
    if len(among) == 1:
        return among[0]

    def choose() -> PathName:
        seconds = predicted(plan, parameters, dtype)
        return min(among, key=lambda name: seconds[name])

    return plan.made((parameters, dtype, among, torch.get_num_threads()), choose)


def predicted(plan: MixPlan, parameters: int, dtype: torch.dtype) -> dict[PathName, float]:
    """Return the seconds of every path; the arguments are those of :func:`cheapest`."""
    device = plan.rows.device
    costs = calibrated(work_dtype(dtype), device, torch.get_num_threads())
    narrow = dtype != work_dtype(dtype)
    return {
        "gathered": _gathered(plan, parameters, costs, narrow),
        "rowwise": _rowwise(plan, parameters, costs, narrow),
        "dense": _dense(plan, parameters, costs, narrow, plain=False),
        "plain": _dense(plan, parameters, costs, narrow, plain=True),
    }


def _blocks(parameters: int, width: int) -> tuple[int, float]:
    """Return how many blocks there are, and their mean width."""
    count = -(-parameters // width) if parameters else 0
    return count, parameters / max(1, count)


def _conversions(plan: MixPlan, blocks: int, columns: float, costs: Calibration, narrow: bool) -> float:
    if not narrow:
        return 0.0
    return sum(costs.passed.seconds(blocks, rows * columns) for rows in (plan.known, len(plan.rows)))


def _gathered(plan: MixPlan, parameters: int, costs: Calibration, narrow: bool) -> float:
    own = len(plan.rows)
    blocks, columns = _blocks(parameters, block_width(own, plan.rows.device))
    seconds = costs.starts["gathered"] + _conversions(plan, blocks, columns, costs, narrow)
    places = kth_neighbours(plan, torch.float64)
    if not (places and places[0].all):
        seconds += costs.passed.seconds(blocks, own * columns)
    for place in places:
        unit = costs.gathered if isinstance(place.rows, slice) else costs.scattered
        seconds += unit.seconds(blocks, len(place.neighbours) * columns)
    return seconds


def _rowwise(plan: MixPlan, parameters: int, costs: Calibration, narrow: bool) -> float:
    blocks, columns = _blocks(parameters, row_width(plan.known))
    seconds = costs.starts["rowwise"] + _conversions(plan, blocks, columns, costs, narrow)
    return seconds + costs.rowwise.seconds(blocks * plan.edges, columns)


def _dense(plan: MixPlan, parameters: int, costs: Calibration, narrow: bool, *, plain: bool) -> float:
    own, known = len(plan.rows), plan.known
    width = block_width(max(own, known), plan.rows.device)
    blocks, columns = _blocks(parameters, width if narrow or not plain else max(1, parameters))
    seconds = costs.starts["plain" if plain else "dense"]
    seconds += _conversions(plan, blocks, columns, costs, narrow)
    seconds += blocks * (costs.passed.call + costs.product_seconds(own, known, columns))
    if not plain:
        seconds += sum(costs.passed.seconds(blocks, rows * columns) for rows in (known, own))
    return seconds
