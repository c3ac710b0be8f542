"""How fast this machine runs what mixing consists of: measured once a process, in under 0.2 seconds.

The operations of every path are timed on small made-up arrays; :mod:`~.cost_model` counts how many of them a
mixing takes. All figures are the least of several times, since a shared machine only ever adds to them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from graftwork_decentral.communication.paths import dense, gathered, rowwise
from graftwork_decentral.communication.paths.plan import MixPlan

SHARED_FROM = 1 << 15
"""Elements from which torch shares an operation among threads."""

MANY_COLUMNS = 1 << 12

# The last is that of a block, so that what a block leaves to a slower cache is measured too.
_SIZES = (16, 1 << 14, 1 << 18)
_ROWS = 16
_PRODUCT_SIDES = (4, 16, 64, 256)
_PRODUCT_WORK = 1 << 26
_REPEATS = 7
_LONGEST = 4e-3


@dataclass(frozen=True)
class Unit:
    """What one operation costs, or a few that belong together, in seconds.

    Args:
        call: each time.
        alone: each element, where one thread does it.
        shared: each element, where all threads do.
    """

    call: float
    alone: float
    shared: float

    def seconds(self, calls: float, elements: float) -> float:
        """Return the time of so many calls of so many elements each.

        >>> Unit(1.0, 0.5, 0.25).seconds(calls=2, elements=10)
        12.0
        """
        return calls * (self.call + elements * (self.shared if elements >= SHARED_FROM else self.alone))


@dataclass(frozen=True)
class Calibration:
    """Seconds of what mixing consists of.

    Args:
        starts: of a mixing besides its blocks, by path.
        gathered: one neighbour of all rows: copy, difference, product, sum.
        scattered: one neighbour of some rows.
        rowwise: one neighbour of one row: difference, product, sum.
        passed: one operation on a block, such as a difference.
        products: a multiplication, by the matrix's side: with few columns and with many.
    """

    starts: dict[str, float]
    gathered: Unit
    scattered: Unit
    rowwise: Unit
    passed: Unit
    products: tuple[tuple[int, float, float], ...]

    def product_seconds(self, rows: int, known: int, columns: float) -> float:
        """Return the time of ``[rows, known] @ [known, columns]``, whatever the call costs apart."""
        side = min(max(math.sqrt(rows * known), _PRODUCT_SIDES[0]), _PRODUCT_SIDES[-1])
        place = next(place for place, (other, _, _) in enumerate(self.products) if side <= other)
        low, high = self.products[max(0, place - 1)], self.products[place]
        share = math.log(side / low[0]) / math.log(high[0] / low[0]) if high[0] > low[0] else 1.0
        kind = 2 if columns >= MANY_COLUMNS else 1
        each: float = low[kind] ** (1 - share) * high[kind] ** share
        return rows * known * columns * each


@cache
def calibrated(dtype: torch.dtype, device: torch.device, threads: int) -> Calibration:
    """Return what was measured for a dtype of the arithmetic, a device and torch's present number of threads.

    >>> calibration = calibrated(torch.float32, torch.device("cpu"), torch.get_num_threads())
    >>> 0 < calibration.rowwise.call < 1
    True
    """
    units = {make.__name__: _unit(make, dtype, device) for make in (_gathered, _scattered, _rowwise, _passed)}
    return Calibration(
        _starts(dtype, device, units),
        *(units["_gathered"], units["_scattered"], units["_rowwise"], units["_passed"]),
        tuple(_product(side, dtype, device) for side in _PRODUCT_SIDES),
    )


# Each takes arrays [16, columns] and returns what to time, and how many elements of one array it makes.


def _gathered(source: Tensor, target: Tensor, scratch: Tensor) -> tuple[Callable[[], object], int]:
    rows = torch.arange(_ROWS, device=source.device).roll(1)
    weights = torch.ones(_ROWS, 1, dtype=source.dtype, device=source.device)

    def once() -> None:
        torch.index_select(source, 0, rows, out=scratch)
        scratch.sub_(source).mul_(weights)
        torch.add(source, scratch, out=target)

    return once, source.numel()


def _scattered(source: Tensor, target: Tensor, scratch: Tensor) -> tuple[Callable[[], object], int]:
    rows = torch.arange(0, _ROWS, 2, device=source.device)
    weights = torch.ones(len(rows), 1, dtype=source.dtype, device=source.device)

    def once() -> None:
        some = source.index_select(0, rows).sub_(source.index_select(0, rows)).mul_(weights)
        target.index_add_(0, rows, some)

    return once, source.numel() // 2


def _rowwise(source: Tensor, target: Tensor, scratch: Tensor) -> tuple[Callable[[], object], int]:
    # Rows as long as an array, or what is shared among threads would not be.
    one, other, between = (
        array.view(-1)[: max(16, array.numel() // 2)] for array in (source, target, scratch)
    )

    def once() -> None:
        torch.sub(one, other, out=between)
        between.mul_(0.5)
        torch.add(one, between, out=other)

    return once, one.numel()


def _passed(source: Tensor, target: Tensor, scratch: Tensor) -> tuple[Callable[[], object], int]:
    # One of each side of a product; elements and, below, calls are those of both.
    def once() -> None:
        torch.sub(source, source[:1], out=scratch)
        torch.add(source, scratch, out=target)

    return once, 2 * source.numel()


_Made = Callable[[Tensor, Tensor, Tensor], tuple[Callable[[], object], int]]


def _unit(make: _Made, dtype: torch.dtype, device: torch.device) -> Unit:
    times = []
    for size in _SIZES:
        # Of ones: the values do not matter, but denormals would.
        arrays = [torch.ones(_ROWS, size // _ROWS, dtype=dtype, device=device) for _ in range(3)]
        call, elements = make(arrays[0], arrays[1], arrays[2])
        times.append((_seconds(call, device), elements))
    (least, _), *others = times
    alone, shared = (max(0.0, time - least) / elements for time, elements in others)
    return Unit(least / 2 if make is _passed else least, alone, shared)


def _product(side: int, dtype: torch.dtype, device: torch.device) -> tuple[int, float, float]:
    rates = []
    for columns in (MANY_COLUMNS // 8, min(MANY_COLUMNS, _PRODUCT_WORK // side**2)):
        weights = torch.ones(side, side, dtype=dtype, device=device)
        source, target = (torch.ones(side, columns, dtype=dtype, device=device) for _ in range(2))

        def once(weights: Tensor = weights, source: Tensor = source, target: Tensor = target) -> None:
            torch.mm(weights, source, out=target)

        rates.append(_seconds(once, device) / (side * side * columns))
    return side, rates[0], rates[1]


def _starts(dtype: torch.dtype, device: torch.device, units: dict[str, Unit]) -> dict[str, float]:
    """Return the time of mixing one column of two agents, without what its operations take."""
    one, both = torch.ones(2, 1, dtype=torch.float64), torch.full((2, 2), 0.5, dtype=torch.float64)
    plan = MixPlan(torch.arange(2), torch.tensor([[1], [0]]), one, both).to(device)
    known = torch.ones(2, 1, dtype=dtype, device=device)
    whole = {
        "gathered": _seconds(lambda: gathered.mix(known, plan), device) - units["_gathered"].call,
        "rowwise": _seconds(lambda: rowwise.mix(known, plan), device) - 2 * units["_rowwise"].call,
        "plain": _seconds(lambda: dense.mix(known, plan, centred=False), device) - units["_passed"].call,
        "dense": _seconds(lambda: dense.mix(known, plan), device) - 3 * units["_passed"].call,
    }
    return {name: max(0.0, seconds) for name, seconds in whole.items()}


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return the least time of a call, a few at once where they are short."""
    call()
    least, times, begin = float("inf"), 1, time.perf_counter()
    for repeat in range(_REPEATS):
        if repeat > 1 and time.perf_counter() - begin > _LONGEST:
            break
        _wait(device)
        start = time.perf_counter()
        for _ in range(times):
            call()
        _wait(device)
        least = min(least, (time.perf_counter() - start) / times)
        if repeat == 0:
            times = max(1, min(10, int(1e-4 / least)))
    return least


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
