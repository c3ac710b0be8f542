"""Mixing by a matrix product, for graphs with many edges, in two forms:

    plain:     mix(x) = W x
    centred:   mix(x) = x + (W - diag(W 1)) (x - x_0),    x_0 the first row of ``known``

Centred is for any weights: what is rounded there is proportional to the differences between agents, which
vanish as they agree. It costs two operations more, block by block of columns.

Plain is one product, and only for weights whose sums are exact: multiples of 2**-12, say. With others the
mean moves a little the same way at every step, and methods that sum up what mixing changed drift off without
end. With exact sums nothing grows, but the rounding of whole values leaves a floor: of exact diffusion on ten
parabolas in float32 the squared error stays at 1e-8 to 6e-8 from 2,000 to 40,000 steps, where centred has
2e-10.

Products are in full float32 or float64, without TF32 and outside autocast. Results agree with
:mod:`~.gathered` to rounding, not bit for bit, and neither do those of another number of rows or another
machine.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.communication.paths.blocks import mix_blocks, work_dtype
from graftwork_decentral.communication.paths.plan import MixPlan
from graftwork_decentral.kernels.full_precision import full_precision
from graftwork_decentral.kernels.workspace import block_width, workspace


def mix(known: Tensor, plan: MixPlan, out: Tensor | None = None, *, centred: bool = True) -> Tensor:
    """Mix ``[known, parameters]`` to ``[m, parameters]``.

    Args:
        known: the own rows and the neighbours'.
        plan: whose rows to mix.
        out: where to, no part of ``known``; a new tensor if None.
        centred: which form; plain needs weights whose sums are exact.

    Raises:
        ValueError: the shapes do not fit together.

    >>> half = torch.full((2, 2), 0.5, dtype=torch.float64)
    >>> plan = MixPlan(torch.arange(2), torch.tensor([[1], [0]]), half[:, :1], half)
    >>> mix(torch.tensor([[0.0], [4.0]]), plan).flatten().tolist()
    [2.0, 2.0]
    """
    dtype = work_dtype(known.dtype)
    parameters = max(1, known.shape[-1])
    rows = max(plan.known, len(plan.rows))
    with full_precision(known.device):
        if not centred:
            weights = plan.made(("plain", dtype), lambda: plan.dense.to(dtype))
            width = parameters if known.dtype == dtype else min(parameters, block_width(rows, known.device))

            def multiply(source: Tensor, mixed: Tensor) -> None:
                torch.mm(weights, source, out=mixed)

            return mix_blocks(known, plan, out, width, multiply)
        weights = plan.made(("centred", dtype), lambda: _differences(plan).to(dtype))
        width = min(block_width(rows, known.device), parameters)
        apart = workspace("apart", (plan.known, width), dtype, known.device)
        delta = workspace("delta", (len(plan.rows), width), dtype, known.device)

        def mix_block(source: Tensor, mixed: Tensor) -> None:
            count = source.shape[1]
            torch.sub(source, source[:1], out=apart[:, :count])
            torch.mm(weights, apart[:, :count], out=delta[:, :count])
            torch.add(plan.own(source), delta[:, :count], out=mixed)

        return mix_blocks(known, plan, out, width, mix_block)


def _differences(plan: MixPlan) -> Tensor:
    """Return ``[m, known]`` with what the other weights of a row sum to, negative, in its own place."""
    differences = plan.dense.clone()
    every = torch.arange(len(plan.rows), device=differences.device)
    differences[every, plan.rows] = 0.0
    differences[every, plan.rows] = -differences.sum(dim=1)
    return differences
