"""A step of exact diffusion on stacked agents, in place: the operation, and which implementation runs where.

With agents as rows, values x, direction g, correction D, step size a and mixing matrix W,

    u = x - a g - D;    x <- mix(u);    D <- D + (u - mix(u)),      D = 0 at the start

is the one-mix form of exact diffusion (D2), derived here from the primal-dual rule of SPARKLE,
arXiv:2411.14166: mean D stays 0, and eliminating D gives x+ = W (2 x - x_prev - a g + a g_prev). Where an
optimizer has made the local move already, ``moved`` takes the place of x - a g.

Mixing adds a difference, with row 0 of u as the origin of every column:

    mix(u)_i = u_i + delta_i,    delta_i = sum_{j != i} w_ij (v_j - v_i),    v = u - u_0
    D <- D - delta

It needs no particular weights. ``W @ u`` in float32 has row sums that are off by one unit in the last place,
which moves the mean of D by a little at every step and always the same way; even with exact row sums the
rounding of products of whole values does. Here all that is rounded is proportional to the disagreement v,
which vanishes as the agents agree, and what D loses is delta itself and not u - x+, so that neither the
rounding of x (in bfloat16 a large one) nor the size of x reaches D. Rows of W are taken to sum to one: the
diagonal is not read.

On a CUDA device with triton installed the kernels of
:mod:`graftwork_decentral.kernels.exact_diffusion_triton` run, which read x, g and D and write x and D once:
five streams instead of the twelve of separate operations. Elsewhere, for float64 and for more agents than
the kernels take, the plain torch of :mod:`graftwork_decentral.kernels.exact_diffusion_reference` runs, block
by block of columns. Both are exact to rounding, without TF32.

The operation is registered as ``graftwork_decentral::exact_diffusion``, so that torch knows what it writes
and can trace through it. No gradient flows through it.

Shapes: x, g, D ``[agents, parameters]`` with contiguous rows at any stride; W ``[agents, agents]``. x may be
of any floating dtype, D float32 or float64 and no narrower than x. Raises ValueError where arguments do not
fit together.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from graftwork_decentral.kernels import exact_diffusion_reference


def exact_diffusion_step(
    values: Tensor, direction: Tensor, correction: Tensor, step_size: Tensor | float, mixing_matrix: Tensor
) -> None:
    """Move the values against the direction, correct and mix them; update the correction.

    Args:
        values: x, ``[agents, parameters]``; written.
        direction: g, of the values' shape and dtype.
        correction: D, of the values' shape, float32 or float64; written.
        step_size: a, a number or a tensor of one on the values' device.
        mixing_matrix: W, ``[agents, agents]`` float32 or float64; rows sum to one.

    Raises:
        ValueError: arguments do not fit together.

    >>> values, correction = torch.tensor([[0.0], [2.0]]), torch.zeros(2, 1)
    >>> direction, mixing_matrix = torch.tensor([[1.0], [-1.0]]), torch.full((2, 2), 0.5)
    >>> exact_diffusion_step(values, direction, correction, 0.5, mixing_matrix)
    >>> values.flatten().tolist(), correction.flatten().tolist()
    ([1.0, 1.0], [-1.5, 1.5])
    """
    _check(values, correction, mixing_matrix)
    if direction.shape != values.shape or direction.dtype != values.dtype:
        raise ValueError(
            f"direction must have the values' shape {tuple(values.shape)} and dtype {values.dtype}, "
            f"got {tuple(direction.shape)} and {direction.dtype}"
        )
    _check_rows("direction", direction, values)
    if not isinstance(step_size, Tensor):
        # Filled on the device: a copy from the host would wait.
        step_size = torch.full((), step_size, dtype=torch.float64, device=values.device)
    elif step_size.numel() != 1 or step_size.device != values.device:
        raise ValueError(
            f"step_size must be a number or a tensor of one on {values.device}, "
            f"got shape {tuple(step_size.shape)} on {step_size.device}"
        )
    _exact_diffusion(values, direction, correction, step_size.detach().reshape(()), mixing_matrix)


def exact_diffusion_after_step(moved: Tensor, correction: Tensor, mixing_matrix: Tensor) -> None:
    """Correct and mix what a local optimizer has moved; update the correction.

    Args:
        moved: x after the local step, ``[agents, parameters]``; written.
        correction: D, of that shape, float32 or float64; written.
        mixing_matrix: W, ``[agents, agents]`` float32 or float64; rows sum to one.

    Raises:
        ValueError: arguments do not fit together.

    >>> moved, correction = torch.tensor([[-0.5], [2.5]]), torch.zeros(2, 1)
    >>> exact_diffusion_after_step(moved, correction, torch.full((2, 2), 0.5))
    >>> moved.flatten().tolist(), correction.flatten().tolist()
    ([1.0, 1.0], [-1.5, 1.5])
    """
    _check(moved, correction, mixing_matrix)
    _exact_diffusion(moved, None, correction, None, mixing_matrix)


@torch.library.custom_op("graftwork_decentral::exact_diffusion", mutates_args={"values", "correction"})
def _exact_diffusion(
    values: Tensor,
    direction: Tensor | None,
    correction: Tensor,
    step_size: Tensor | None,
    mixing_matrix: Tensor,
) -> None:
    implementation = _implementation(values, correction)
    implementation.exact_diffusion(values, direction, correction, step_size, mixing_matrix)


@_exact_diffusion.register_fake
def _(*_: object) -> None:
    return None


def _implementation(values: Tensor, correction: Tensor) -> ModuleType:
    if not (values.is_cuda and _has_triton()):
        return exact_diffusion_reference
    # Not at the top: importing triton takes a second, and only this branch needs it.
    from graftwork_decentral.kernels import exact_diffusion_triton

    taken = (
        values.dtype in exact_diffusion_triton.DTYPES
        and correction.dtype == torch.float32
        and values.shape[0] <= exact_diffusion_triton.MOST_AGENTS
    )
    return exact_diffusion_triton if taken else exact_diffusion_reference


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _check(values: Tensor, correction: Tensor, mixing_matrix: Tensor) -> None:
    if values.ndim != 2 or not values.is_floating_point():
        raise ValueError(
            "values must be a floating matrix [agents, parameters], "
            f"got shape {tuple(values.shape)} of {values.dtype}"
        )
    if correction.dtype not in (torch.float32, torch.float64) or (
        correction.dtype.itemsize < values.dtype.itemsize
    ):
        raise ValueError(
            f"correction must be float32 or float64 and no narrower than the values' {values.dtype}, "
            f"got {correction.dtype}"
        )
    _check_rows("values", values, values)
    _check_rows("correction", correction, values)
    agents = values.shape[0]
    if mixing_matrix.shape != (agents, agents) or mixing_matrix.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"mixing_matrix must be {(agents, agents)} of float32 or float64 here, "
            f"got {tuple(mixing_matrix.shape)} of {mixing_matrix.dtype}"
        )
    if mixing_matrix.device != values.device:
        raise ValueError(
            f"mixing_matrix must be on the values' device {values.device}, got {mixing_matrix.device}"
        )


def _check_rows(name: str, tensor: Tensor, values: Tensor) -> None:
    if tensor.shape != values.shape or tensor.device != values.device:
        raise ValueError(
            f"{name} must have shape {tuple(values.shape)} on {values.device}, "
            f"got {tuple(tensor.shape)} on {tensor.device}"
        )
    if tensor.shape[1] > 1 and tensor.stride(1) != 1:
        raise ValueError(f"{name} must have contiguous rows, got strides {tensor.stride()}")
