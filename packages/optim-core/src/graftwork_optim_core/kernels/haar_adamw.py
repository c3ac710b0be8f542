"""The fused GWT-AdamW step of one weight: the operations, and which implementation runs where.

On a CUDA device with triton installed the kernels of
:mod:`graftwork_optim_core.kernels.haar_adamw_triton` run, elsewhere and at levels deeper than theirs the
plain torch of :mod:`graftwork_optim_core.kernels.haar_adamw_reference`, which also states the equations.
Either way nothing is read back to the host: a step can be captured in a CUDA graph.

The operations are registered as ``graftwork_optim_core::haar_adamw_step``, ``::haar_adamw_correct`` and
``::haar_adamw_finite_extent``, so that torch knows what they write and can trace through them.

Shapes: values and gradient ``[rows, width]``, averages ``[rows, blocks]`` with ``blocks = ceil(width / 2
** level)``, factors ``[5]``. Raises ``ValueError`` where they do not fit together.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from graftwork_optim_core.common.parameters import arithmetic_dtype
from graftwork_optim_core.kernels import haar_adamw_reference
from graftwork_optim_core.numerics.haar import block_count


def haar_adamw_step(
    values: Tensor,
    gradient: Tensor,
    mean: Tensor,
    mean_square: Tensor,
    factors: Tensor,
    *,
    level: int,
    guard: bool,
    beta1: float,
    beta2: float,
    eps: float,
    maximize: bool,
) -> Tensor:
    """Make one step of one weight, in place, as if its direction's growth were not limited.

    The arithmetic is float32, float64 for float64 values, and every result is rounded once. Values move
    by the averages as they are stored, so that :func:`haar_adamw_correct` finds the same update again.

    Args:
        values: ``[rows, width]``; like all matrices here with rows contiguous in themselves, at any
        stride.
        gradient: likewise, of any floating dtype.
        mean: running mean of the coarse gradient, ``[rows, blocks]``.
        mean_square: running mean of its square, likewise.
        factors: on the weight's device, in the arithmetic's dtype: the mean's bias correction, the
        root's, the
            rate ``lr * scale``, what decay keeps ``1 - lr * weight_decay``, and the gate. With a gate of
            0 nothing is written.
        level: a block is ``2 ** level`` columns.
        guard: bound the details and leave the mean's bias correction out of them
        (``detail_guard="auto"``).
        beta1: decay of the mean.
        beta2: decay of the mean square.
        eps: added to the root, greater than 0.
        maximize: climb instead of descend.

    Returns:
        The squared norm of ``mean / (sqrt(mean_square) + eps)``, a scalar in the arithmetic's dtype,
        taken before the averages are rounded to their own; 0 where the gate is shut.

    Raises:
        ValueError: shapes or dtypes do not fit together.

    >>> values, gradient = torch.zeros(1, 4), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    >>> mean, mean_square = torch.zeros(1, 2), torch.zeros(1, 2)
    >>> factors = torch.tensor([10.0, 0.001**0.5, 0.1 * 0.25, 1.0, 1.0])
    >>> options = {"level": 1, "guard": False, "beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "maximize": False}
    >>> norm_squared = haar_adamw_step(values, gradient, mean, mean_square, factors, **options)
    >>> values
    tensor([[ 0.0412, -0.0766,  0.0076, -0.0429]])
    """
    _check(values, gradient, mean, mean_square, factors, level)
    result: Tensor = _step(
        *(values, gradient, mean, mean_square, factors, level, guard, beta1, beta2, eps, maximize)
    )
    return result


def haar_adamw_correct(
    values: Tensor,
    gradient: Tensor,
    mean: Tensor,
    mean_square: Tensor,
    factors: Tensor,
    excess: Tensor,
    *,
    level: int,
    guard: bool,
    eps: float,
    maximize: bool,
) -> None:
    """Take back what :func:`haar_adamw_step` did too much, where the direction's norm grew too fast.

    With a divisor q of the direction the step should have moved by ``1 / q`` of what it did. In float32
    the result is that of a step which knew q, up to rounding; a bfloat16 weight is rounded here a second
    time, so that it may lie one bfloat16 step away. Where the excess is 0 nothing is written, and the
    kernel does not even read.

    Args:
        values: as the step left them.
        gradient: as the step was given it.
        mean: as the step left it.
        mean_square: likewise.
        factors: as the step was given them.
        excess: ``1 - 1 / q``, a scalar on the weight's device.
        level: as in the step.
        guard: likewise.
        eps: likewise.
        maximize: likewise.

    Raises:
        ValueError: shapes or dtypes do not fit together.

    >>> values, gradient = torch.zeros(1, 2), torch.tensor([[1.0, 3.0]])
    >>> mean, mean_square = torch.zeros(1, 1), torch.zeros(1, 1)
    >>> factors = torch.tensor([10.0, 0.03, 1.0, 1.0, 1.0])
    >>> options = {"level": 1, "guard": True, "eps": 1e-6, "maximize": False}
    >>> _ = haar_adamw_step(values, gradient, mean, mean_square, factors, beta1=0.9, beta2=0.999, **options)
    >>> half_way = values / 2
    >>> haar_adamw_correct(values, gradient, mean, mean_square, factors, torch.tensor(0.5), **options)
    >>> bool((values - half_way).abs().max() < 1e-6)
    True
    """
    _check(values, gradient, mean, mean_square, factors, level)
    if excess.numel() != 1:
        raise ValueError(f"excess must hold one number, got shape {tuple(excess.shape)}")
    _correct(values, gradient, mean, mean_square, factors, excess, level, guard, eps, maximize)


def finite_extent(gradient: Tensor, level: int) -> Tensor:
    """Return the squared norm of the coarse gradient, finite exactly if the gradient is and nothing
    overflows.

    Args:
        gradient: ``[rows, width]`` with contiguous rows, of any floating dtype.
        level: a block is ``2 ** level`` columns.

    Returns:
        A scalar, float32 or for a float64 gradient float64. Equal inputs give equal bits.

    Raises:
        ValueError: the gradient is no matrix, or its rows are not contiguous.

    >>> finite_extent(torch.tensor([[1.0, 3.0, torch.inf]]), 1)
    tensor(inf)
    >>> finite_extent(torch.tensor([[1.0, 3.0, 2.0]]), 1)
    tensor(10.0000)
    """
    _check_matrix("gradient", gradient)
    result: Tensor = _extent(gradient, level)
    return result


@torch.library.custom_op(
    "graftwork_optim_core::haar_adamw_step", mutates_args={"values", "mean", "mean_square"}
)
def _step(
    values: Tensor,
    gradient: Tensor,
    mean: Tensor,
    mean_square: Tensor,
    factors: Tensor,
    level: int,
    guard: bool,
    beta1: float,
    beta2: float,
    eps: float,
    maximize: bool,
) -> Tensor:
    result: Tensor = _implementation(values, level).haar_adamw_step(
        *(values, gradient, mean, mean_square, factors),
        **{"level": level, "guard": guard, "beta1": beta1, "beta2": beta2, "eps": eps, "maximize": maximize},
    )
    return result


@torch.library.custom_op("graftwork_optim_core::haar_adamw_correct", mutates_args={"values"})
def _correct(
    values: Tensor,
    gradient: Tensor,
    mean: Tensor,
    mean_square: Tensor,
    factors: Tensor,
    excess: Tensor,
    level: int,
    guard: bool,
    eps: float,
    maximize: bool,
) -> None:
    _implementation(values, level).haar_adamw_correct(
        *(values, gradient, mean, mean_square, factors, excess),
        **{"level": level, "guard": guard, "eps": eps, "maximize": maximize},
    )


@torch.library.custom_op("graftwork_optim_core::haar_adamw_finite_extent", mutates_args=())
def _extent(gradient: Tensor, level: int) -> Tensor:
    result: Tensor = _implementation(gradient, level).finite_extent(gradient, level)
    return result


@_step.register_fake
def _(values: Tensor, *_: object) -> Tensor:
    return values.new_empty((), dtype=arithmetic_dtype(values))


@_extent.register_fake
def _(gradient: Tensor, level: int) -> Tensor:
    return gradient.new_empty((), dtype=arithmetic_dtype(gradient))


def _implementation(values: Tensor, level: int) -> ModuleType:
    if values.is_cuda and _has_triton():
        # Not at the top: importing triton takes a second, and only this branch needs it.
        from graftwork_optim_core.kernels import haar_adamw_triton

        if level <= haar_adamw_triton.DEEPEST_LEVEL:
            return haar_adamw_triton
    return haar_adamw_reference


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _check(
    values: Tensor, gradient: Tensor, mean: Tensor, mean_square: Tensor, factors: Tensor, level: int
) -> None:
    named = {"values": values, "gradient": gradient, "mean": mean, "mean_square": mean_square}
    for name, matrix in named.items():
        _check_matrix(name, matrix)
    rows, width = values.shape
    if gradient.shape != values.shape:
        raise ValueError(
            f"gradient must have the shape of values {(rows, width)}, got {tuple(gradient.shape)}"
        )
    coarse = (rows, block_count(width, level))
    for name in ("mean", "mean_square"):
        if named[name].shape != coarse:
            found = tuple(named[name].shape)
            raise ValueError(f"{name} must have shape {coarse} at level {level}, got {found}")
    arithmetic = arithmetic_dtype(values)
    if factors.shape != (5,) or factors.dtype != arithmetic:
        raise ValueError(
            f"factors must be 5 numbers in {arithmetic}, got {tuple(factors.shape)} in {factors.dtype}"
        )


def _check_matrix(name: str, matrix: Tensor) -> None:
    if matrix.ndim != 2 or (matrix.shape[1] > 1 and matrix.stride(1) != 1):
        raise ValueError(
            f"{name} must be a matrix with contiguous rows, got shape {tuple(matrix.shape)} "
            f"with strides {matrix.stride()}"
        )
