"""How each weight is perturbed: which directions it has, under which key they are drawn, where they lie.

A direction of a matrix X ``[rows, columns]`` is ``U V^T`` with ``U [rows, rank]`` and ``V [columns, rank]``
(LOZO, arXiv:2410.07698). A vector, and a matrix so narrow that a direction of rank r would save little
(``min(rows, columns) <= NARROW * rank``), has one of its own shape (MeZO, arXiv:2305.17333); where that is
large it is streamed: drawn piece by piece whenever it is needed, and never held.

Random numbers follow from a weight's name where it has one, so that neither the order of the parameters nor
their division into groups matters; from its place otherwise.

Raises ValueError for weights of a dtype, layout or sharding that cannot be perturbed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from graftwork_optim_core.common.parameters import matrix_shape, named_parameters
from graftwork_optim_core.common.sharding import is_sharded_type, local_part

DirectionForm = Literal["low-rank", "vector", "streamed"]

NARROW = 4
"""A matrix of at most so many rows or columns a rank has directions of its own shape."""
LARGEST_HELD = 1 << 16
"""Elements of a direction of the weight's own shape that is held rather than streamed."""


@dataclass(frozen=True, slots=True, eq=False)
class PerturbationSite:
    """A weight and its directions.

    Args:
        name: for messages.
        parameter: the weight.
        group: its parameter group.
        key: of its random numbers, 32 bits.
        form: low-rank; vector, of the weight's own shape; or streamed, the same but never held.
        rows: of the part in this process.
        columns: of the weight as a matrix.
        first_row: where this process's rows begin in the whole.
        rank: columns of U and of V; 0 where the direction is of the weight's own shape.
        additive: the weight is never written; what it moved stays beside it.
    """

    name: str
    parameter: Tensor
    group: dict[str, Any]
    key: int
    form: DirectionForm
    rows: int
    columns: int
    first_row: int
    rank: int
    additive: bool

    @property
    def matrix(self) -> Tensor:
        """The local part of the weight, ``[rows, columns]``, sharing its memory."""
        local = local_part(self.parameter).detach()
        return local if local.ndim == 2 else local.view(self.rows, self.columns)

    @property
    def direction_count(self) -> int:
        """Numbers that one direction takes in this process."""
        return self.rows * (self.rank or self.columns)

    @property
    def first_element(self) -> int:
        """Index of this process's first number in the whole direction."""
        return self.first_row * (self.rank or self.columns)

    @property
    def scale(self) -> float:
        """The factor ``1 / rank`` that makes the estimate of the gradient unbiased, or 1."""
        return 1 / self.rank if self.rank and self.group["scale"] == "paper" else 1.0


def sites_of(param_groups: Iterable[dict[str, Any]]) -> list[PerturbationSite]:
    """Return the sites of all trainable weights, those of a group together.

    Raises:
        ValueError: a weight cannot be perturbed; the message names it.
    """
    sites: list[PerturbationSite] = []
    keys: set[int] = set()
    place = 0
    for number, group in enumerate(param_groups):
        named = "param_names" in group
        for name, parameter in named_parameters(group, number):
            if parameter.requires_grad or group["additive"]:
                key = zlib.crc32(name.encode()) if named else place
                while key in keys:
                    key = (key + 1) % (1 << 32)
                keys.add(key)
                sites.append(_site(name, parameter, group, key))
            place += 1
    return sites


def _site(name: str, parameter: Tensor, group: dict[str, Any], key: int) -> PerturbationSite:
    if not parameter.is_floating_point() and not group["additive"]:
        raise ValueError(
            f"parameter {name!r} must be of a real floating-point dtype, got {parameter.dtype}; a quantized "
            "weight belongs in a group with additive=True"
        )
    whole_rows, columns = _packed_shape(parameter) or matrix_shape(parameter)
    rows, first_row = _local_rows(name, parameter, whole_rows)
    if parameter.ndim == 1 and is_sharded_type(parameter):
        # A sharded vector is cut along its only axis: each of its elements is a row.
        rows, columns = rows, 1
    local = local_part(parameter)
    in_rows = local.stride(1) == 1 or local.shape[1] < 2 if local.ndim == 2 else local.is_contiguous()
    if not in_rows and not group["additive"]:
        raise ValueError(f"parameter {name!r} must have contiguous rows, got strides {local.stride()}")
    rank = int(group["rank"])
    narrow = min(whole_rows, columns) <= NARROW * rank
    low_rank = parameter.ndim > 1 and rank > 0 and (group["additive"] or not narrow)
    if group["additive"] and not low_rank:
        raise ValueError(f"parameter {name!r} must be a matrix to be perturbed without being written")
    form: DirectionForm = (
        "low-rank" if low_rank else "vector" if parameter.numel() <= LARGEST_HELD else "streamed"
    )
    return PerturbationSite(
        name,
        parameter,
        group,
        key,
        form,
        rows,
        columns,
        first_row,
        rank if low_rank else 0,
        bool(group["additive"]),
    )


def _packed_shape(parameter: Tensor) -> tuple[int, int] | None:
    """Return the shape of a weight that bitsandbytes has packed to 4 bits, of which the tensor itself shows
    nothing."""
    shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
    return (int(shape[0]), int(shape[1])) if shape is not None and len(shape) == 2 else None


def _local_rows(name: str, parameter: Tensor, whole_rows: int) -> tuple[int, int]:
    """Return how many rows lie in this process, and the first of them; an element of a vector is a row."""
    if not is_sharded_type(parameter):
        return whole_rows, 0
    mesh = parameter.device_mesh
    cut = [
        (dimension, placement)
        for dimension, placement in enumerate(parameter.placements)
        if not placement.is_replicate() and mesh.size(dimension) > 1
    ]
    extent = parameter.shape[0] if parameter.ndim else 1
    if not cut:
        return (extent if parameter.ndim == 1 else whole_rows), 0
    if len(cut) > 1 or not cut[0][1].is_shard(0):
        raise ValueError(
            f"parameter {name!r} of shape {tuple(parameter.shape)} is placed {tuple(parameter.placements)}; "
            "a perturbation needs whole rows of it in one process: shard its first axis, over one dimension "
            "of the mesh"
        )
    dimension = cut[0][0]
    chunk = -(-extent // mesh.size(dimension))
    first = min(mesh.get_local_rank(dimension) * chunk, extent)
    return min(chunk, extent - first), first
