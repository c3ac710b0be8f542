"""The step of GWT-AdamW on a CPU in one pass over memory, compiled by numba at its first call.

The equations are those of :mod:`graftwork_optim_core.kernels.haar_adamw_reference`; at level 0, where a block
is its own mean, ``U = r_m r_d m / d``.

Rows are cut into tiles that stay in a core's first cache. Within a tile every loop reads and writes
neighbours, so that LLVM makes vector instructions of it. A weight is cut into parts of fixed size; whatever
is summed over a weight is summed within a part and then over the parts in their order, so that no number of
threads changes a bit of a result.

Nor does it matter whether a process compiles its machine code or loads it from disk, nor which processor it
has. A process that compiles an entry runs inner functions as they were compiled for themselves, one that
loads it runs the copies optimized within it; so everything is computed as it is written, without a flag that
lets LLVM add in another order ("reassoc") or leave products unrounded ("contract"). Sums over a part are one
for each place of a tile: side by side they make vector instructions without such a flag.

Where the growth of the direction's norm is limited, the norm must be known before a weight moves. It is taken
from the gradient and the averages in a pass of its own, which costs little, since some pass must find out
first whether the gradient is finite.

Shapes: values and gradient ``[rows, width]``, averages ``[rows, ceil(width / 2 ** level)]``; the last block
of a row may be short. All four in float32 or all in float64, rows contiguous in themselves, at any stride.
Raises ``ValueError`` where they are not, and ``ImportError`` at import without numba.

One long file, since numba's cache on disk notices changes of the file of an entry alone.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from graftwork_optim_core.kernels.machine_code import entry, inner, numba
from graftwork_optim_core.numerics.haar import DETAIL_BOUND, block_count

_extending: Any = importlib.import_module("numba.extending")

_TILE = 1024
"""Columns a tile: with fewer the loops are too short, with more less of the work hides waits for memory."""

_PART = 1 << 15
"""Columns a part, the unit that threads share and sums are taken over."""

_ALONE = 1 << 17
"""Elements below which waking a second thread costs more than it saves."""

_CHECK, _COARSE_CHECK, _MEASURE, _STEP = range(4)

_JOB = np.dtype(
    [
        *((name, np.int64) for name in ("values", "gradient", "mean", "mean_square")),
        *((f"{name}_stride", np.int64) for name in ("values", "gradient", "mean", "mean_square")),
        *((name, np.int64) for name in ("rows", "width", "part_rows", "part_width", "parts")),
        *((name, np.float64) for name in ("mean_correction", "root_correction", "rate", "kept", "norm")),
        ("moved", np.int64),
    ]
)
"""One weight: addresses, strides, how it is cut into parts, :class:`Numbers`, and what becomes of it."""


class Numbers(NamedTuple):
    """What differs between the weights of one call.

    Args:
        mean_correction: of the mean's start at zero, ``1 / (1 - beta1 ** t)``.
        root_correction: of the root's, ``sqrt(1 - beta2 ** t)``.
        rate: ``lr * scale``.
        kept: what decay leaves, ``1 - lr * weight_decay``.
        previous_norm: of the direction at the weight's last step, as it was returned; 0 at first.
    """

    mean_correction: float
    root_correction: float
    rate: float
    kept: float
    previous_norm: float = 0.0


class WeightStep(NamedTuple):
    """What became of one weight.

    Args:
        moved: False if its gradient was not finite; nothing was written then.
        norm: of its direction, the next step's ``previous_norm``; without a limit what was passed.
    """

    moved: bool
    norm: float


class _Constants(NamedTuple):
    """What holds for all weights of one call, its numbers in the dtype of the arithmetic."""

    level: int
    guard: bool
    climb: bool
    zero: Any
    one: Any
    rest1: Any
    beta2: Any
    rest2: Any
    eps: Any
    unit: Any
    bound: Any


class _Rule(NamedTuple):
    """Numbers of one weight in the dtype of the arithmetic."""

    sign: Any
    unit: Any
    bound: Any
    root_factor: Any
    mean_factor: Any
    rate: Any
    kept: Any


@_extending.intrinsic  # type: ignore[untyped-decorator]
def _pointer(_: Any, address: Any, like: Any) -> Any:
    """Take an address for that of numbers of the type of ``like``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return numba.types.CPointer(like)(address, like), generate


@inner
def _array(address: int, like: Any, length: int) -> Any:
    # Arrays made of addresses are not counted by references, so that cutting them into tiles is free.
    return numba.carray(_pointer(address, like), (length,))


@inner
def _sum_twos(source: Any, target: Any, factor: Any, count: int) -> None:
    for i in range(count // 2):
        target[i] = (source[2 * i] + source[2 * i + 1]) * factor
    if count % 2:
        target[count // 2] = source[count - 1] * factor


@inner
def _sum_fours(source: Any, target: Any, factor: Any, count: int) -> None:
    for i in range(count // 4):
        target[i] = ((source[4 * i] + source[4 * i + 1]) + (source[4 * i + 2] + source[4 * i + 3])) * factor
    if count % 4:
        last = source[count // 4 * 4]
        for i in range(count // 4 * 4 + 1, count):
            last += source[i]
        target[count // 4] = last * factor


@inner
def _repeat_twice(source: Any, target: Any, count: int) -> None:
    for i in range(count):
        target[2 * i] = source[i]
        target[2 * i + 1] = source[i]


@inner
def _repeat_four_times(source: Any, target: Any, count: int) -> None:
    for i in range(count):
        target[4 * i] = source[i]
        target[4 * i + 1] = source[i]
        target[4 * i + 2] = source[i]
        target[4 * i + 3] = source[i]


@inner
def _scale(source: Any, target: Any, factor: Any, count: int) -> None:
    for i in range(count):
        target[i] = source[i] * factor


@inner
def _compress(gradient: Any, coarse: Any, spare: Any, one: Any, unit: Any, count: int, level: int) -> None:
    """Write the sums over blocks of a tile's columns, times the unit."""
    if level == 0:
        _scale(gradient, coarse, unit, count)
    elif level == 1:
        _sum_twos(gradient, coarse, unit, count)
    elif level == 2:
        _sum_fours(gradient, coarse, unit, count)
    else:
        _sum_fours(gradient, spare, one, count)
        count = (count + 3) // 4
        for _ in range((level - 3) // 2):
            _sum_fours(spare, coarse, one, count)
            count = (count + 3) // 4
            _scale(coarse, spare, one, count)
        if level % 2:
            _sum_twos(spare, coarse, unit, count)
        else:
            _sum_fours(spare, coarse, unit, count)


@inner
def _spread_to_fours(source: Any, target: Any, spare: Any, one: Any, count: int, level: int) -> None:
    """Repeat each number for every four columns of its block, at level 3 or deeper."""
    if level % 2:
        _repeat_twice(source, target, count)
        count *= 2
    else:
        _repeat_four_times(source, target, count)
        count *= 4
    for _ in range((level - 3) // 2):
        _scale(target, spare, one, count)
        _repeat_four_times(spare, target, count)
        count *= 4


@inner
def _add_squares(numbers: Any, sums: Any, count: int) -> None:
    # Four numbers for each sum, since sums cost a reading and a writing.
    quarter = count // 4
    first, second = numbers[:quarter], numbers[quarter : 2 * quarter]
    third, fourth = numbers[2 * quarter : 3 * quarter], numbers[3 * quarter : 4 * quarter]
    for i in range(quarter):
        sums[i] += (first[i] * first[i] + second[i] * second[i]) + (
            third[i] * third[i] + fourth[i] * fourth[i]
        )
    for i in range(4 * quarter, count):
        sums[i - 4 * quarter] += numbers[i] * numbers[i]


@inner
def _find_next_direction(
    coarse: Any, mean: Any, mean_square: Any, direction: Any, constants: Any, count: int
) -> None:
    """Write ``mean / (sqrt(mean_square) + eps)`` as it is after :func:`_accumulate`."""
    for i in range(count):
        next_mean = mean[i] + constants.rest1 * (coarse[i] - mean[i])
        next_square = mean_square[i] * constants.beta2 + constants.rest2 * coarse[i] * coarse[i]
        direction[i] = next_mean / (np.sqrt(next_square) + constants.eps)


@inner
def _add_wide_squares(numbers: Any, sums: Any, count: int) -> None:
    """Add squares in float64, where those of float32 could overflow."""
    for i in range(count):
        number = np.float64(numbers[i])
        sums[i] += number * number


@inner
def _clear(sums: Any, zero: Any, count: int) -> None:
    for i in range(count):
        sums[i] = zero


@inner
def _add(source: Any, target: Any, count: int) -> None:
    for i in range(count):
        target[i] += source[i]


@inner
def _total(sums: Any, count: int) -> float:
    """Add up the sums of all places, the second half to the first as long as that makes vectors."""
    while count > 16:
        half = (count + 1) // 2
        _add(sums[half:count], sums[:half], count - half)
        count = half
    total = 0.0
    for i in range(count):
        total += np.float64(sums[i])
    return total


# LLVM leaves a loop scalar if it needs more than a few checks that the arrays it writes overlap no others;
# hence never more than three written in one loop.
@inner
def _accumulate(coarse: Any, mean: Any, mean_square: Any, constants: Any, count: int) -> None:
    for i in range(count):
        mean[i] += constants.rest1 * (coarse[i] - mean[i])
        mean_square[i] = mean_square[i] * constants.beta2 + constants.rest2 * coarse[i] * coarse[i]


@inner
def _invert_roots(mean_square: Any, inverse: Any, constants: Any, factor: Any, count: int) -> None:
    for i in range(count):
        inverse[i] = constants.one / (np.sqrt(mean_square[i]) + constants.eps) * factor


@inner
def _step_plain(
    values: Any, coarse: Any, mean: Any, mean_square: Any, constants: Any, rule: Any, count: int
) -> None:
    for i in range(count):
        mean[i] += constants.rest1 * (coarse[i] - mean[i])
        mean_square[i] = mean_square[i] * constants.beta2 + constants.rest2 * coarse[i] * coarse[i]
        update = mean[i] / (np.sqrt(mean_square[i]) + constants.eps) * rule.root_factor
        values[i] = (values[i] - rule.rate * update) * rule.kept


@inner
def _moved(value: Any, gradient: Any, coarse: Any, mean: Any, inverse: Any, rule: Any, guard: bool) -> Any:
    """Return one entry of the weight after its step."""
    # The sign to what columns of a block share, so that it is applied once a block.
    slope = gradient * (rule.sign * inverse)
    if guard:
        detail = slope - coarse * inverse * rule.unit
        # Two comparisons that a NaN passes through, unlike min and max.
        detail = -rule.bound if detail < -rule.bound else detail
        detail = rule.bound if detail > rule.bound else detail
        update = detail + mean * inverse * rule.mean_factor
    else:
        update = slope + (mean - coarse) * rule.unit * inverse
    return (value - rule.rate * update) * rule.kept


def _descend_by(columns: int) -> Callable[..., None]:
    @inner
    def descend(
        values: Any, gradient: Any, coarse: Any, mean: Any, inverse: Any, rule: Any, guard: bool, count: int
    ) -> None:
        for i in range(count // columns):
            for k in range(columns):
                j = columns * i + k
                values[j] = _moved(values[j], gradient[j], coarse[i], mean[i], inverse[i], rule, guard)
        for j in range(count // columns * columns, count):
            i = j // columns
            values[j] = _moved(values[j], gradient[j], coarse[i], mean[i], inverse[i], rule, guard)

    return descend


_descend_by_twos, _descend_by_fours = _descend_by(2), _descend_by(4)


@inner
def _rule(job: Any, constants: Any, room: Any, rate: float, kept: float) -> Any:
    # Stored in the room and read again: rounded to its dtype.
    guarded = constants.guard and constants.level > 0
    room[0] = job.root_correction if guarded else job.root_correction * job.mean_correction
    # No power, which a compiler may replace by another function that rounds otherwise.
    room[1] = job.mean_correction / np.sqrt(1 << constants.level)
    room[2] = rate
    room[3] = kept
    sign = -constants.one if constants.climb else constants.one
    return _Rule(sign, constants.unit, constants.bound, room[0], room[1], room[2], room[3])


@inner
def _work(
    job: Any, constants: Any, scratch: Any, rate: float, kept: float, mode: int, part: int
) -> tuple[float, float]:
    """Do one of the four things to one part of a weight.

    Returns:
        A number that is finite if the gradient is, and the squared norm of the direction; each 0 where the
        thing to do does not find it.
    """
    zero, one, level, guard = constants.zero, constants.one, constants.level, constants.guard
    tile = len(scratch) // 8
    squares = scratch[:tile]
    room = _array(scratch[tile:].ctypes.data, zero, 7 * tile)
    rule = _rule(job, constants, room, rate, kept)
    unit = rule.sign * constants.unit
    coarse, inverse, spare = room[:tile], room[tile : 2 * tile], room[2 * tile : 3 * tile]
    coarse_fours, mean_fours, inverse_fours = (
        room[3 * tile : 4 * tile],
        room[4 * tile : 5 * tile],
        room[5 * tile : 6 * tile],
    )

    last_of_block = (1 << level) - 1
    blocks = (job.width + last_of_block) >> level
    all_values = _array(job.values, zero, (job.rows - 1) * job.values_stride + job.width)
    all_gradient = _array(job.gradient, zero, (job.rows - 1) * job.gradient_stride + job.width)
    all_mean = _array(job.mean, zero, (job.rows - 1) * job.mean_stride + blocks)
    all_mean_square = _array(job.mean_square, zero, (job.rows - 1) * job.mean_square_stride + blocks)
    parts_of_row = (job.width + job.part_width - 1) // job.part_width
    first_row = part // parts_of_row * job.part_rows
    first = part % parts_of_row * job.part_width
    last = min(job.width, first + job.part_width)

    extents = room[6 * tile :]
    widest = min(tile, last - first)
    # Four columns share a sum of extents; of a tile that four do not divide three are left.
    places = min(widest, tile // 4 + 3)
    if mode != _STEP:
        _clear(extents, zero, places)
    if mode == _MEASURE:
        _clear(squares, 0.0, widest)
    for row in range(first_row, min(job.rows, first_row + job.part_rows)):
        for column in range(first, last, tile):
            count = min(tile, last - column)
            at = row * job.gradient_stride + column
            gradient = all_gradient[at : at + count]
            if mode == _CHECK:
                _add_squares(gradient, extents, count)
                continue
            number = (count + last_of_block) >> level
            at = row * job.mean_stride + (column >> level)
            mean = all_mean[at : at + number]
            at = row * job.mean_square_stride + (column >> level)
            mean_square = all_mean_square[at : at + number]
            at = row * job.values_stride + column
            values = all_values[at : at + count]
            _compress(gradient, coarse, spare, one, unit, count, level)
            if mode in (_COARSE_CHECK, _MEASURE):
                _add_squares(coarse, extents, number)
            if mode == _COARSE_CHECK:
                continue
            if mode == _MEASURE:
                _find_next_direction(coarse, mean, mean_square, inverse, constants, number)
                _add_wide_squares(inverse, squares, number)
                continue
            if level == 0:
                _step_plain(values, coarse, mean, mean_square, constants, rule, count)
            else:
                _accumulate(coarse, mean, mean_square, constants, number)
                _invert_roots(mean_square, inverse, constants, rule.root_factor, number)
                if level == 1:
                    _descend_by_twos(values, gradient, coarse, mean, inverse, rule, guard, count)
                elif level == 2:
                    _descend_by_fours(values, gradient, coarse, mean, inverse, rule, guard, count)
                else:
                    _spread_to_fours(coarse, coarse_fours, spare, one, number, level)
                    _spread_to_fours(mean, mean_fours, spare, one, number, level)
                    _spread_to_fours(inverse, inverse_fours, spare, one, number, level)
                    _descend_by_fours(
                        values, gradient, coarse_fours, mean_fours, inverse_fours, rule, guard, count
                    )
    return (
        _total(extents, places) if mode != _STEP else 0.0,
        _total(squares, widest) if mode == _MEASURE else 0.0,
    )


@entry
def _work_on_parts(
    jobs: Any,
    constants: Any,
    scratch: Any,
    rate: float,
    kept: float,
    mode: int,
    first: int,
    last: int,
    sums: Any,
) -> None:
    """Do one of the four things to some parts of the first weight; results go to ``sums`` ``[parts, 2]``."""
    for part in range(first, last):
        sums[part] = _work(jobs[0], constants, scratch, rate, kept, mode, part)


@inner
def _totals(sums: Any) -> tuple[float, float]:
    """Add up in their order what the parts of a weight returned."""
    extent, square = 0.0, 0.0
    for part in range(len(sums)):
        extent += sums[part, 0]
        square += sums[part, 1]
    return extent, square


@inner
def _limit_growth(norm: float, previous: float, limit: float) -> tuple[float, float]:
    """Compute :func:`graftwork_optim_core.common.scalars.limit_growth`; a limit of 0 limits nothing."""
    if limit == 0:
        return 1.0, previous
    divisor = max(norm / (previous + 1e-8), limit) / limit if previous > 0 else 1.0
    return divisor, norm / divisor if norm > 0 else previous


@entry
def _advance(jobs: Any, order: Any, constants: Any, scratch: Any, limit: float, largest: float) -> None:
    """Make the whole step of some weights, each while its gradient is in a cache."""
    for place in order:
        job = jobs[place]
        sums = np.empty((job.parts, 2))
        extent, square = 0.0, 0.0
        # The squares of all entries bound those of the coarse ones and take no sums of blocks.
        for mode in (_CHECK, _COARSE_CHECK) if limit == 0 else (_MEASURE, _MEASURE):
            for part in range(job.parts):
                sums[part] = _work(job, constants, scratch, 0.0, 1.0, mode, part)
            extent, square = _totals(sums)
            if mode == _MEASURE or extent <= largest:
                break
        job.moved = extent <= largest
        if job.moved:
            divisor, job.norm = _limit_growth(math.sqrt(square), job.norm, limit)
            for part in range(job.parts):
                _work(job, constants, scratch, job.rate / divisor, job.kept, _STEP, part)


def haar_adamw_steps(
    weights: Sequence[tuple[Tensor, ...]],
    numbers: Sequence[Numbers],
    *,
    level: int,
    guard: bool,
    betas: tuple[float, float],
    eps: float,
    maximize: bool,
    norm_growth_limit: float | None,
) -> list[WeightStep]:
    """Make the whole step of many weights in place: the check for finite gradients, the limiter, the update.

    Args:
        weights: values, gradient, mean and mean square of each; all of one dtype.
        numbers: of each weight; its corrections are those of the step to be made.
        level: a block is ``2 ** level`` columns; 0 is plain Adam.
        guard: bound the details and leave the mean's bias correction out of them (``detail_guard="auto"``).
        betas: decay of the mean and of the mean square.
        eps: added to the root, greater than 0.
        maximize: climb instead of descend.
        norm_growth_limit: by what factor the norm of a direction may grow in a step; None lifts the limit.

    Returns:
        What became of each weight. One whose gradient is not finite, or so large that the squared norm of its
        coarse gradient overflows, is left alone together with its averages.

    Raises:
        ValueError: shapes, strides, dtypes or devices do not fit together.

    >>> values, gradient = torch.zeros(1, 4), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    >>> weights = [(values, gradient, torch.zeros(1, 2), torch.zeros(1, 2))]
    >>> options = {"level": 1, "guard": False, "betas": (0.9, 0.999), "eps": 1e-6, "maximize": False}
    >>> numbers = [Numbers(10.0, 0.001**0.5, 0.1 * 0.25, 1.0)]
    >>> made = haar_adamw_steps(weights, numbers, **options, norm_growth_limit=1.01)
    >>> values, made[0].moved
    (tensor([[ 0.0412, -0.0766,  0.0076, -0.0429]]), True)
    """
    if not weights:
        return []
    dtype = weights[0][0].dtype
    constants = _constants(dtype, level, guard, maximize, betas, eps)
    jobs = np.array(
        [(*_places(weight, level, dtype), *own, False) for weight, own in zip(weights, numbers, strict=True)],
        _JOB,
    )
    sizes = [values.numel() for values, *_ in weights]
    threads = torch.get_num_threads() if sum(sizes) >= _ALONE else 1
    large, orders = _divide(sizes, threads)
    limit = norm_growth_limit or 0.0
    for place in large:
        _advance_together(jobs[place : place + 1], constants, limit)

    def advance(order: list[int]) -> None:
        places = np.array(order, np.int64)
        _advance(jobs, places, constants, _scratch(constants), limit, _largest(constants))

    _in_threads(advance, orders)
    torch.autograd.graph.increment_version([values for values, *_ in weights])
    return list(map(WeightStep, (jobs["moved"] != 0).tolist(), jobs["norm"].tolist()))


def _advance_together(jobs: Any, constants: _Constants, limit: float) -> None:
    """Make the whole step of the only weight, shared by all threads, as :func:`_advance` does to the bit."""
    largest, extent, square = _largest(constants), 0.0, 0.0
    for mode in (_CHECK, _COARSE_CHECK) if limit == 0 else (_MEASURE,):
        extent, square = _run(jobs, constants, mode)
        if extent <= largest:
            break
    jobs["moved"] = extent <= largest
    if extent <= largest:
        rate, kept, previous = float(jobs["rate"][0]), float(jobs["kept"][0]), float(jobs["norm"][0])
        divisor, jobs["norm"] = _limit_growth(math.sqrt(square), previous, limit)
        _run(jobs, constants, _STEP, rate / divisor, kept)


def _run(
    jobs: Any, constants: _Constants, mode: int, rate: float = 0.0, kept: float = 1.0
) -> tuple[float, float]:
    """Do one of the four things to all parts of the only weight, shared by all threads."""
    parts = int(jobs["parts"][0])
    sums = np.empty((parts, 2))
    threads = min(parts, torch.get_num_threads()) if parts * _PART >= _ALONE else 1

    def work(share: tuple[int, int]) -> None:
        _work_on_parts(jobs, constants, _scratch(constants), rate, kept, mode, *share, sums)

    _in_threads(work, [(parts * n // threads, parts * (n + 1) // threads) for n in range(threads)])
    totals: tuple[float, float] = _totals(sums)
    return totals


def _divide(sizes: list[int], threads: int) -> tuple[list[int], list[list[int]]]:
    """Return which weights all threads must share, and which of the others each thread takes.

    >>> _divide([10, 30, 20, 10], 2)
    ([], [[1, 3], [2, 0]])
    >>> _divide([10, 1 << 20, 20, 10], 2)
    ([1], [[2], [0, 3]])
    """
    if threads == 1:
        return [], [list(range(len(sizes)))]
    most = max(_ALONE, sum(sizes) // (4 * threads))
    orders: list[list[int]] = [[] for _ in range(threads)]
    loads = [0] * threads
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        if sizes[place] < most:
            thread = loads.index(min(loads))
            orders[thread].append(place)
            loads[thread] += sizes[place]
    return [place for place, size in enumerate(sizes) if size >= most], [order for order in orders if order]


_Share = TypeVar("_Share")


def _in_threads(function: Callable[[_Share], None], shares: list[_Share]) -> None:
    """Call the function with each share at once; without a share there is nothing to do."""
    futures = [_pool().submit(function, share) for share in shares[1:]]
    if shares:
        function(shares[0])
    for future in futures:
        future.result()


@cache
def _pool() -> ThreadPoolExecutor:
    # Threads are started as they are needed; how many are at work is decided by who submits.
    return ThreadPoolExecutor(max_workers=1024, thread_name_prefix="haar-adamw")


if hasattr(os, "register_at_fork"):
    # A forked process has none of its parent's threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _constants(
    dtype: torch.dtype, level: int, guard: bool, climb: bool, betas: tuple[float, float], eps: float
) -> _Constants:
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"values must be float32 or float64, got {dtype}; other dtypes make the step in torch"
        )
    beta1, beta2 = betas
    numbers = (0.0, 1.0, 1 - beta1, beta2, 1 - beta2, eps, 2.0 ** (-level / 2), DETAIL_BOUND)
    number = np.float32 if dtype == torch.float32 else np.float64
    return _Constants(level, guard, climb, *map(number, numbers))


def _largest(constants: _Constants) -> float:
    return float(np.finfo(constants.one).max)


def _scratch(constants: _Constants) -> Any:
    """Return room for a tile of float64 and for seven in the dtype of the arithmetic."""
    return np.empty(8 * max(_TILE, 1 << constants.level))


def _places(weight: tuple[Tensor, ...], level: int, dtype: torch.dtype) -> tuple[int, ...]:
    """Return where a weight lies and how it is cut into parts, the first fields of a job."""
    rows, width = fine = _require_matrix("values", weight[0])
    blocks = block_count(width, level)
    shapes = (fine, fine, (rows, blocks), (rows, blocks))
    for name, matrix, shape in zip(_NAMES, weight, shapes, strict=True):
        if _require_matrix(name, matrix) != shape or matrix.dtype != dtype:
            raise ValueError(
                f"{name} must have shape {shape} in {dtype} at level {level}, "
                f"got {tuple(matrix.shape)} in {matrix.dtype}"
            )
    strides = [matrix.stride(0) for matrix in weight]
    dense = strides == [width, width, blocks, blocks]
    return (*(matrix.data_ptr() for matrix in weight), *strides, *_cut(rows, width, level, dense))


def _cut(rows: int, width: int, level: int, dense: bool) -> tuple[int, int, int, int, int]:
    """Return rows, width, rows a part, columns a part and the number of parts.

    >>> _cut(512, 1376, 2, dense=True), _cut(512, 1375, 2, dense=True)
    ((1, 704512, 1, 32768, 22), (512, 1375, 23, 1375, 23))
    """
    if rows == 1 or (dense and width % (1 << level) == 0):
        # No block reaches over the end of a row, so that all rows are one.
        rows, width = 1, rows * width
        part_rows, part_width = 1, max(_PART, 1 << level)
    else:
        part_rows, part_width = max(1, _PART // max(1, width)), max(1, width)
    return rows, width, part_rows, part_width, -(-rows // part_rows) * -(-width // part_width)


_NAMES = ("values", "gradient", "mean", "mean_square")


def _require_matrix(name: str, matrix: Tensor) -> tuple[int, int]:
    if matrix.ndim != 2 or not matrix.is_cpu or (matrix.shape[1] > 1 and matrix.stride(1) != 1):
        raise ValueError(
            f"{name} must be a matrix with contiguous rows on the CPU, got shape {tuple(matrix.shape)} "
            f"with strides {matrix.stride()} on {matrix.device}"
        )
    return (matrix.shape[0], matrix.shape[1])
