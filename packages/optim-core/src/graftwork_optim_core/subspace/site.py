"""Where a step happens: one weight as a transform and a host see it, and the tensors that they keep of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from graftwork_optim_core.common.sharding import Rows


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor of a weight's state, zero at first.

    Args:
        shape: ``[rows, columns]`` of the whole weight, also where its rows are spread over processes.
        follows_rows: whether its first axis is the weight's rows, spread as they are; otherwise every process
            holds all of it.
        dtype: its own, or none for the dtype that the optimizer chose for its averages.
        on_host: whether it lies on the CPU wherever the weight does, to be read without waiting.
    """

    shape: tuple[int, int]
    follows_rows: bool = True
    dtype: torch.dtype | None = None
    on_host: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One weight in a step.

    Args:
        shape: ``[rows, columns]`` of the whole weight, taken as a matrix.
        rows: which of its rows this process holds, and how to reach the others.
        index: the weight's position among all parameters of the optimizer, the same in every process.
        state: the transform's own tensors, local parts as matrices, under the names of its slots.
        mixes_rows: whether rows of the coarse gradient mix the weight's, so that every process holds all.
    """

    shape: tuple[int, int]
    rows: Rows
    index: int = 0
    state: Mapping[str, Tensor] = field(default_factory=dict)
    mixes_rows: bool = False
