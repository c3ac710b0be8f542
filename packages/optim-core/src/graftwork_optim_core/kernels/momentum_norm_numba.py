"""The running means of gradients and their norms on a CPU, in one pass over memory, compiled by numba.

    m <- m + weight (factor g - m),    returns sum m^2

The norm of the means is needed before a normalized step can move anything. Taken while they are written it
costs no pass of its own. A tensor is cut into parts of fixed size, whose sums are added in their order, so
that no number of threads changes a bit. Within a part squares are rounded to the dtype of the values and
summed up in float64, one sum for each place of a block: side by side they make vector instructions without a
flag that lets LLVM choose the order. With one, code from numba's cache and code just compiled differed.

Shapes: m and g of one shape, both float32 or both float64, contiguous, on the CPU; the functions return
    None, and
have done nothing, where they are not. Raises ``ImportError`` at import without numba.

One file, since numba's cache on disk notices changes of the file of an entry alone.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graftwork_optim_core.kernels.machine_code import entry, inner, numba

_extending: Any = importlib.import_module("numba.extending")

_BLOCK = 1024
"""Elements that are summed up side by side."""

_PART = 1 << 18
"""Elements a part, the unit that threads share; a multiple of the block."""

_NUMBERS = {torch.float32: np.float32(0), torch.float64: np.float64(0)}
_PLAIN = (Tensor, torch.nn.Parameter)


@_extending.intrinsic  # type: ignore[untyped-decorator]
def _pointer(_: Any, address: Any, like: Any) -> Any:
    """Take an address for that of numbers of the type of ``like``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return numba.types.CPointer(like)(address, like), generate


@inner
def _array(address: int, like: Any, length: int) -> Any:
    return numba.carray(_pointer(address, like), (length,))


@inner
def _square_block(first: Any, second: Any, third: Any, fourth: Any, places: Any) -> None:
    # Four places at once are fetched from memory faster than one.
    for place in range(first.size):
        places[place] += (first[place] * first[place] + second[place] * second[place]) + (
            third[place] * third[place] + fourth[place] * fourth[place]
        )


@inner
def _average_block(momentum: Any, gradient: Any, weight: Any, factor: Any, places: Any) -> None:
    for place in range(momentum.size):
        new = momentum[place] + weight * (factor * gradient[place] - momentum[place])
        momentum[place] = new
        places[place] += new * new


@inner
def _average_block_from_gradient(momentum: Any, gradient: Any, rest: Any, factor: Any, places: Any) -> None:
    # As in torch.lerp, so that of a weight of 1 nothing is left of the mean, not even by rounding.
    for place in range(momentum.size):
        taken = factor * gradient[place]
        new = taken - rest * (taken - momentum[place])
        momentum[place] = new
        places[place] += new * new


@inner
def _add(source: Any, target: Any) -> None:
    for place in range(source.size):
        target[place] += source[place]


@inner
def _total(places: Any, count: int) -> float:
    """Add up the sums of all places, the second half to the first as long as that makes vectors."""
    while count > 16:
        half = (count + 1) // 2
        _add(places[half:count], places[:half])
        count = half
    total = 0.0
    for place in range(count):
        total += places[place]
    return total


@entry
def _square_parts(jobs: Any, parts: Any, like: Any, begin: int, stop: int, sums: Any) -> None:
    places = np.empty(_BLOCK)
    for number in range(begin, stop):
        tensor, start, end = parts[number]
        values = _array(jobs[tensor, 0], like, jobs[tensor, 2])[start:end]
        quarter = values.size // 4
        first, second, third, fourth = (
            values[:quarter],
            values[quarter : 2 * quarter],
            values[2 * quarter : 3 * quarter],
            values[3 * quarter : 4 * quarter],
        )
        count = min(_BLOCK, quarter)
        places[:count] = 0.0
        for place in range(0, quarter, _BLOCK):
            end = min(place + _BLOCK, quarter)
            _square_block(first[place:end], second[place:end], third[place:end], fourth[place:end], places)
        total = _total(places, count)
        for place in range(4 * quarter, values.size):
            total += float(values[place]) * float(values[place])
        sums[number] = total


@entry
def _average_parts(
    jobs: Any, parts: Any, weights: Any, factors: Any, like: Any, first: int, stop: int, sums: Any
) -> None:
    places = np.empty(_BLOCK)
    # From the last on, since it is the last gradients read that a cache still holds.
    for number in range(stop - 1, first - 1, -1):
        tensor, start, end = parts[number]
        momentum = _array(jobs[tensor, 0], like, jobs[tensor, 2])
        gradient = _array(jobs[tensor, 1], like, jobs[tensor, 2])
        weight, factor = weights[tensor], factors[tensor]
        rest = weights.dtype.type(1) - weight
        count = min(_BLOCK, end - start)
        places[:count] = 0.0
        for place in range(start, end, _BLOCK):
            last = min(place + _BLOCK, end)
            if weight < 0.5:
                _average_block(momentum[place:last], gradient[place:last], weight, factor, places)
            else:
                _average_block_from_gradient(momentum[place:last], gradient[place:last], rest, factor, places)
        sums[number] = _total(places, count)


@entry
def _cut(sizes: Any, most: int) -> Any:
    count = 0
    for tensor in range(len(sizes)):
        count += (sizes[tensor] + most - 1) // most
    parts = np.empty((count, 3), np.int64)
    number = 0
    for tensor in range(len(sizes)):
        for start in range(0, sizes[tensor], most):
            parts[number, 0], parts[number, 1] = tensor, start
            parts[number, 2] = min(start + most, sizes[tensor])
            number += 1
    return parts


@entry
def _totals(parts: Any, sums: Any, count: int) -> Any:
    totals = np.zeros(count)
    for number in range(len(parts)):
        totals[parts[number, 0]] += sums[number]
    return totals


def sums_of_squares(tensors: Sequence[Tensor]) -> list[float] | None:
    """Return the sum of the squares of each; it is not finite if a value is not, or if it overflows.

    >>> sums_of_squares([torch.tensor([3.0, 4.0])])
    [25.0]
    """
    like = _suited(tensors)
    if like is None:
        return None
    jobs = np.array([(tensor.data_ptr(), 0, tensor.numel()) for tensor in tensors], np.int64)
    return _over_parts(jobs, lambda parts, *share: _square_parts(jobs, parts, like, *share))


def average_and_square(
    momenta: Sequence[Tensor], gradients: Sequence[Tensor], weights: Sequence[float], factors: Sequence[float]
) -> list[float] | None:
    """Take gradients into the means, in place, and return the sums of the means' squares.

    Args:
        momenta: the means.
        gradients: of their shapes and their dtype.
        weights: of the gradients, in (0, 1].
        factors: multiply the gradients first.

    >>> average_and_square([torch.tensor([3.0, 0.0])], [torch.tensor([3.0, 8.0])], [0.5], [1.0])
    [25.0]
    """
    like = _suited([*momenta, *gradients])
    if like is None or [one.shape for one in momenta] != [one.shape for one in gradients]:
        return None
    sizes = [momentum.numel() for momentum in momenta]
    places = ([tensor.data_ptr() for tensor in tensors] for tensors in (momenta, gradients))
    jobs = np.array(list(zip(*places, sizes, strict=True)), np.int64)
    shares, scales = np.array(weights, like.dtype), np.array(factors, like.dtype)
    totals = _over_parts(
        jobs, lambda parts, *share: _average_parts(jobs, parts, shares, scales, like, *share)
    )
    torch.autograd.graph.increment_version(momenta)
    return totals


def _suited(tensors: Sequence[Tensor]) -> Any:
    """Return zero of the dtype of tensors that the kernel can work on together, else None."""
    dtype = tensors[0].dtype if tensors else None
    for tensor in tensors:
        if (
            tensor.dtype != dtype
            or type(tensor) not in _PLAIN
            or not tensor.is_cpu
            or not tensor.is_contiguous()
        ):
            return None
    return _NUMBERS.get(dtype) if dtype is not None else None


def _over_parts(jobs: Any, work: Callable[..., None]) -> list[float]:
    """Work on all parts, each thread on neighbours, and return the sums by tensor."""
    parts, elements = _parts_of(jobs[:, 2].tobytes())
    sums = np.empty(len(parts))
    threads = min(torch.get_num_threads(), len(parts)) if elements > _PART else 1
    bounds = [len(parts) * number // threads for number in range(threads + 1)]
    futures = [_pool().submit(work, parts, first, stop, sums) for first, stop in pairwise(bounds[1:])]
    work(parts, bounds[0], bounds[1], sums)
    for future in futures:
        future.result()
    totals: list[float] = _totals(parts, sums, len(jobs)).tolist()
    return totals


@lru_cache(maxsize=16)
def _parts_of(sizes: bytes) -> tuple[Any, int]:
    """Cut tensors of given sizes into parts, the same at every step."""
    whole = np.frombuffer(sizes, np.int64)
    return _cut(whole, _PART), int(whole.sum())


@cache
def _pool() -> ThreadPoolExecutor:
    # Threads are started as they are needed; how many are at work is decided by who submits.
    return ThreadPoolExecutor(max_workers=1024, thread_name_prefix="momentum-norm")


if hasattr(os, "register_at_fork"):
    # A forked process has none of its parent's threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)
