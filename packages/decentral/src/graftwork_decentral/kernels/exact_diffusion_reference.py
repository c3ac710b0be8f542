"""A step of exact diffusion in plain torch; what it computes stands in
:mod:`graftwork_decentral.kernels.exact_diffusion`.

On a CPU it goes block by block of columns, so that a block is read from memory once, stays in the cache for
the six operations on it, and is written once. On another device a block is as wide as memory for temporaries
allows.

The arithmetic is that of the correction: float32, or float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.kernels.full_precision import full_precision
from graftwork_decentral.kernels.workspace import block_width, workspace


@torch.no_grad()
def exact_diffusion(
    values: Tensor,
    direction: Tensor | None,
    correction: Tensor,
    step_size: Tensor | None,
    mixing_matrix: Tensor,
) -> None:
    """Make one step; without a direction the values have moved already."""
    agents, parameters = values.shape
    if agents == 0 or parameters == 0:
        return
    differences = difference_matrix(mixing_matrix).to(correction.dtype)
    on_cpu = values.device.type == "cpu"
    width = min(parameters, block_width(agents, values.device))
    # A number is cheaper for every block, and reading it off a CPU waits for nothing.
    scale = step_size.item() if on_cpu and step_size is not None else step_size
    apart, delta = (
        workspace(name, (agents, width), correction.dtype, correction.device) for name in ("apart", "delta")
    )
    with full_precision(values.device):
        for first in range(0, parameters, width):
            block = slice(first, min(first + width, parameters))
            count = block.stop - block.start
            mixed, dual = values[:, block], correction[:, block]
            gradient = None if direction is None else direction[:, block]
            _step(mixed, gradient, dual, scale, differences, apart[:, :count], delta[:, :count])


def difference_matrix(mixing_matrix: Tensor) -> Tensor:
    """Return L with ``(L v)_i = sum_{j != i} w_ij (v_j - v_i)``, in float64.

    >>> difference_matrix(torch.tensor([[0.75, 0.25], [0.25, 0.75]]))
    tensor([[-0.2500,  0.2500],
            [ 0.2500, -0.2500]], dtype=torch.float64)
    """
    differences = mixing_matrix.to(torch.float64, copy=True).fill_diagonal_(0.0)
    return differences - torch.diag(differences.sum(dim=1))


def _step(
    values: Tensor,
    direction: Tensor | None,
    correction: Tensor,
    scale: Tensor | float | None,
    differences: Tensor,
    apart: Tensor,
    delta: Tensor,
) -> None:
    # In place where the values are as wide as the arithmetic; else in a copy, rounded once at the end.
    local = values if values.dtype == correction.dtype else values.to(correction.dtype)
    if direction is not None:
        if isinstance(scale, Tensor):
            local.sub_(direction * scale.to(correction.dtype))
        else:
            local.sub_(direction, alpha=scale or 0.0)
    local.sub_(correction)
    torch.sub(local, local[:1], out=apart)
    torch.mm(differences, apart, out=delta)
    correction.sub_(delta)
    local.add_(delta)
    if local is not values:
        values.copy_(local)
