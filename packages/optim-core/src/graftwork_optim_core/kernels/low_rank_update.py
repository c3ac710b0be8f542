"""Updates of rank r and random perturbations of many weights at once, in place: the operations, and which
implementation runs where.

With U_i ``[rows, rank]`` and z_i of the weight's shape drawn by :mod:`graftwork_optim_core.numerics.philox`,
V_i ``[columns, rank]`` and A_i ``[rows, rank]`` given, the three operations are

    perturb_low_rank:   W_i <- W_i + coefficient U_i V_i^T
    perturb_full:       W_i <- W_i + coefficient z_i
    merge_low_rank:     W_i <- decay W_i + scale A_i V_i^T

Source: LOZO, arXiv:2410.07698, whose perturbation and step they are, and MeZO, arXiv:2305.17333, for z. No
temporary of a weight's size is made.

On a CUDA device with triton installed the kernels of
:mod:`graftwork_optim_core.kernels.low_rank_update_triton` run, one launch for all weights of a dtype, which
read and write every weight once and draw U and z in registers. Elsewhere, and for float64 weights, the plain
torch of :mod:`graftwork_optim_core.kernels.low_rank_update_reference` runs. Nothing is read back to the host
from an accelerator. The kernels keep a table of the weights' addresses, so that a step to be captured in a
CUDA graph must have run once before.

The arithmetic is float32, float64 for float64 weights, and every weight is rounded once.

The operations are registered as ``graftwork_optim_core::perturb_low_rank``, ``::perturb_full`` and
``::merge_low_rank``, so that torch knows what they write and can trace through them. Call them under
``torch.no_grad()``.

Shapes: weights ``[rows, columns]`` with contiguous rows at any stride, of any floating dtype. Raises
ValueError where arguments do not fit together.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import TypeVar

import torch
from torch import Tensor

from graftwork_optim_core.kernels import low_rank_update_reference

_WORD = 0xFFFFFFFF
_Item = TypeVar("_Item")


def perturb_low_rank(
    weights: Sequence[Tensor],
    rights: Sequence[Tensor],
    coefficient: Tensor | float,
    *,
    seed: int,
    moment: int | Tensor,
    parameter_indices: Sequence[int],
    role: int,
    rank: int,
    first_rows: Sequence[int] | None = None,
    rounding: Sequence[int | Tensor] | None = None,
) -> None:
    """Add ``coefficient U_i V_i^T`` to every weight, U_i being drawn on the fly.

    Args:
        weights: ``[rows, columns]`` each, all on one device.
        rights: V_i, ``[columns, rank]`` float32 or float64.
        coefficient: a number, or a tensor of one on the weights' device.
        seed: of all U, from 0 below 2**64.
        moment: which step, from 0 below 2**32; a number, or an int64 tensor of one on the weights' device.
        parameter_indices: which parameter every weight is, from 0 below 2**32.
        role: what U is for, from 0 below 2**32.
        rank: columns of U and V.
        first_rows: of a row shard, where it begins in the whole weight; 0 if None. A shard moves like these
            rows of the whole.
        rounding: what the random bits of a stochastic rounding depend on besides parameter and element, as in
            :func:`~graftwork_optim_core.numerics.stochastic_rounding.round_stochastically`, whose seed parts
            are the parameter's index and these; to nearest if None. For bfloat16 weights alone, others are
            rounded to nearest.

    Raises:
        ValueError: arguments do not fit together.

    >>> weight, right = torch.zeros(2, 3), torch.tensor([[1.0], [0.0], [2.0]])
    >>> key = {"seed": 0, "moment": 7, "parameter_indices": [0], "role": 0}
    >>> perturb_low_rank([weight], [right], 1e-3, rank=1, **key)
    >>> bool((weight[:, 2] == 2 * weight[:, 0]).all()), weight[:, 1].tolist()
    (True, [0.0, 0.0])
    """
    if not weights:
        return
    first_rows = _check_weights(weights, parameter_indices, first_rows, "first_rows")
    _check_factors("rights", rights, [weight.shape[1] for weight in weights], weights, rank)
    _perturb_low_rank(
        *(weights, rights, _scalar("coefficient", coefficient, weights[0])),
        *(_signed_seed(seed), _moment(moment, weights[0])),
        *([*parameter_indices], _word("role", role), first_rows, _parts(rounding, weights[0])),
    )


def perturb_full(
    weights: Sequence[Tensor],
    coefficient: Tensor | float,
    *,
    seed: int,
    moment: int | Tensor,
    parameter_indices: Sequence[int],
    role: int,
    first_elements: Sequence[int] | None = None,
) -> None:
    """Add ``coefficient z_i`` to every weight, z_i being drawn on the fly; rounded to nearest.

    Args:
        weights: ``[rows, columns]`` or ``[elements]`` each, all on one device.
        coefficient: as in :func:`perturb_low_rank`, like all that follows.
        seed: of all z.
        moment: which step.
        parameter_indices: which parameter every weight is.
        role: what z is for.
        first_elements: of a shard, where it begins in the whole weight, counted row by row; 0 if None.

    Raises:
        ValueError: arguments do not fit together.

    >>> whole, shard = torch.zeros(4, 3), torch.zeros(2, 3)
    >>> key = {"seed": 0, "moment": 7, "parameter_indices": [0], "role": 2}
    >>> perturb_full([whole], 1e-3, **key)
    >>> perturb_full([shard], 1e-3, first_elements=[6], **key)
    >>> torch.equal(shard, whole[2:])
    True
    """
    if not weights:
        return
    matrices = [weight.unsqueeze(0) if weight.ndim == 1 else weight for weight in weights]
    first_elements = _check_weights(matrices, parameter_indices, first_elements, "first_elements")
    _perturb_full(
        *(matrices, _scalar("coefficient", coefficient, weights[0])),
        *(_signed_seed(seed), _moment(moment, weights[0])),
        *([*parameter_indices], _word("role", role), first_elements),
    )


def merge_low_rank(
    weights: Sequence[Tensor],
    lefts: Sequence[Tensor],
    rights: Sequence[Tensor],
    scale: Tensor | float = 1.0,
    decay: Tensor | float = 1.0,
    rounding: Sequence[int | Tensor] | None = None,
    *,
    parameter_indices: Sequence[int] | None = None,
    first_rows: Sequence[int] | None = None,
) -> None:
    """Replace every weight by ``decay W_i + scale A_i V_i^T``.

    Args:
        weights: ``[rows, columns]`` each, all on one device.
        lefts: A_i, ``[rows, rank]`` float32 or float64.
        rights: V_i, ``[columns, rank]`` likewise; one rank for all weights.
        scale: a number, or a tensor of one on the weights' device.
        decay: likewise; what is kept of the weight.
        rounding: as in :func:`perturb_low_rank`.
        parameter_indices: which parameter every weight is; needed for a stochastic rounding only.
        first_rows: of a row shard, where it begins in the whole weight, 0 if None; likewise.

    Raises:
        ValueError: arguments do not fit together.

    >>> weight, left, right = torch.eye(2), torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])
    >>> merge_low_rank([weight], [left], [right], scale=0.1, decay=0.5)
    >>> weight
    tensor([[0.8000, 0.4000],
            [0.6000, 1.3000]])
    """
    if not weights:
        return
    if parameter_indices is None:
        if rounding is not None:
            raise ValueError("rounding needs parameter_indices, so that no two weights are rounded alike")
        parameter_indices = [0] * len(weights)
    first_rows = _check_weights(weights, parameter_indices, first_rows, "first_rows")
    if not rights or rights[0].ndim != 2:
        raise ValueError(f"rights must be {len(weights)} matrices, one a weight")
    rank = rights[0].shape[1]
    _check_factors("lefts", lefts, [weight.shape[0] for weight in weights], weights, rank)
    _check_factors("rights", rights, [weight.shape[1] for weight in weights], weights, rank)
    _merge_low_rank(
        *(weights, lefts, rights, _scalar("scale", scale, weights[0]), _scalar("decay", decay, weights[0])),
        *([*parameter_indices], first_rows, _parts(rounding, weights[0])),
    )


@torch.library.custom_op("graftwork_optim_core::perturb_low_rank", mutates_args={"weights"})
def _perturb_low_rank(
    weights: Sequence[Tensor],
    rights: Sequence[Tensor],
    coefficient: Tensor,
    seed: int,
    moment: Tensor,
    parameter_indices: Sequence[int],
    role: int,
    first_rows: Sequence[int],
    rounding: Tensor | None,
) -> None:
    for implementation, places in _by_implementation(weights):
        implementation.perturb_low_rank(
            *(_take(weights, places), _take(rights, places), coefficient, seed & (1 << 64) - 1, moment),
            *(_take(parameter_indices, places), role, _take(first_rows, places), rounding),
        )


@torch.library.custom_op("graftwork_optim_core::perturb_full", mutates_args={"weights"})
def _perturb_full(
    weights: Sequence[Tensor],
    coefficient: Tensor,
    seed: int,
    moment: Tensor,
    parameter_indices: Sequence[int],
    role: int,
    first_elements: Sequence[int],
) -> None:
    for implementation, places in _by_implementation(weights):
        implementation.perturb_full(
            *(_take(weights, places), coefficient, seed & (1 << 64) - 1, moment),
            *(_take(parameter_indices, places), role, _take(first_elements, places)),
        )


@torch.library.custom_op("graftwork_optim_core::merge_low_rank", mutates_args={"weights"})
def _merge_low_rank(
    weights: Sequence[Tensor],
    lefts: Sequence[Tensor],
    rights: Sequence[Tensor],
    scale: Tensor,
    decay: Tensor,
    parameter_indices: Sequence[int],
    first_rows: Sequence[int],
    rounding: Tensor | None,
) -> None:
    for implementation, places in _by_implementation(weights):
        implementation.merge_low_rank(
            *(_take(weights, places), _take(lefts, places), _take(rights, places), scale, decay),
            *(_take(parameter_indices, places), _take(first_rows, places), rounding),
        )


def _by_implementation(weights: Sequence[Tensor]) -> list[tuple[ModuleType, list[int]]]:
    """Return every implementation with the places of the weights it takes: of one dtype for the kernels."""
    if not (weights[0].is_cuda and _has_triton()):
        return [(low_rank_update_reference, list(range(len(weights))))]
    # Not at the top: importing triton takes a second, and only this branch needs it.
    from graftwork_optim_core.kernels import low_rank_update_triton

    groups: dict[torch.dtype, list[int]] = {}
    for place, weight in enumerate(weights):
        groups.setdefault(weight.dtype, []).append(place)
    return [
        (
            low_rank_update_triton if dtype in low_rank_update_triton.DTYPES else low_rank_update_reference,
            places,
        )
        for dtype, places in groups.items()
    ]


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _take(items: Sequence[_Item], places: Sequence[int]) -> list[_Item]:
    return [items[place] for place in places]


def _check_weights(
    weights: Sequence[Tensor], parameter_indices: Sequence[int], firsts: Sequence[int] | None, name: str
) -> Sequence[int]:
    """Return where every weight begins in its whole."""
    firsts = [0] * len(weights) if firsts is None else firsts
    for other, numbers in (("parameter_indices", parameter_indices), (name, firsts)):
        if len(numbers) != len(weights):
            raise ValueError(f"{other} must be one number a weight, got {len(numbers)} for {len(weights)}")
    for index in parameter_indices:
        _word("parameter_indices", index)
    for weight, first in zip(weights, firsts, strict=True):
        if weight.ndim != 2 or (weight.shape[1] > 1 and weight.stride(1) != 1):
            raise ValueError(
                f"every weight must be a matrix with contiguous rows, got shape {tuple(weight.shape)} "
                f"with strides {weight.stride()}"
            )
        if not weight.is_floating_point():
            raise ValueError(f"every weight must be of a floating dtype, got {weight.dtype}")
        if weight.device != weights[0].device:
            raise ValueError(
                f"all weights must be on one device, got {weights[0].device} and {weight.device}"
            )
        if first < 0:
            raise ValueError(f"{name} must be 0 or more, got {first}")
    return firsts


def _check_factors(
    name: str, factors: Sequence[Tensor], lengths: Sequence[int], weights: Sequence[Tensor], rank: int
) -> None:
    if len(factors) != len(weights):
        raise ValueError(f"{name} must be one matrix a weight, got {len(factors)} for {len(weights)}")
    for factor, length in zip(factors, lengths, strict=True):
        if factor.shape != (length, rank):
            raise ValueError(f"{name} must have shape {(length, rank)} here, got {tuple(factor.shape)}")
        if factor.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name} must be float32 or float64, got {factor.dtype}")
        if factor.device != weights[0].device:
            raise ValueError(
                f"{name} must be on the weights' device {weights[0].device}, got {factor.device}"
            )


def _scalar(name: str, number: Tensor | float, weight: Tensor) -> Tensor:
    if not isinstance(number, Tensor):
        # Filled on the device: a copy from the host would wait.
        return torch.full((), number, dtype=torch.float64, device=weight.device)
    if number.numel() != 1 or number.device != weight.device:
        raise ValueError(
            f"{name} must be a number or a tensor of one on {weight.device}, "
            f"got shape {tuple(number.shape)} on {number.device}"
        )
    return number.reshape(())


def _moment(moment: int | Tensor, weight: Tensor) -> Tensor:
    if not isinstance(moment, Tensor):
        return torch.full((), _word("moment", moment), dtype=torch.int64, device=weight.device)
    return _scalar("moment", moment, weight).to(torch.int64)


def _parts(rounding: Sequence[int | Tensor] | None, weight: Tensor) -> Tensor | None:
    """Return the seed parts, cut to 64 bits."""
    if rounding is None:
        return None
    parts = torch.empty(len(rounding), dtype=torch.int64, device=weight.device)
    for place, part in zip(parts, rounding, strict=True):
        if isinstance(part, Tensor):
            place.copy_(part.reshape(()))
        else:
            place.fill_(_signed(part))
    return parts


def _signed(number: int) -> int:
    """Cut a number to 64 bits, as int64 holds them."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _signed_seed(seed: int) -> int:
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must be from 0 below 2**64, got {seed}")
    return _signed(seed)


def _word(name: str, number: int) -> int:
    if not 0 <= number <= _WORD:
        raise ValueError(f"{name} must be from 0 below 2**32, got {number}")
    return number
