"""Updates of rank r and perturbations: the reference against dense formulas, and the kernels against it.

The kernels run in triton's interpreter, in a process of its own: only there can the environment say so
before triton is imported. Run as a program, this file is that process: it writes what the kernels made of
every case.
"""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from graftwork_optim_core.kernels import low_rank_update, low_rank_update_reference
from graftwork_optim_core.kernels.low_rank_update import merge_low_rank, perturb_full, perturb_low_rank
from graftwork_optim_core.numerics.philox import normal
from graftwork_optim_core.numerics.stochastic_rounding import round_stochastically

FLOAT, DOUBLE, HALF, BRAIN = torch.float32, torch.float64, torch.float16, torch.bfloat16
SEED, MOMENT = 2**63 + 12345, 77
SHAPES = ((5, 37), (19, 16), (1, 1))


@dataclass(frozen=True)
class Case:
    """Several weights before one operation.

    Args:
        gap: columns of NaN behind every row, which nothing may touch.
        first: first row, or element, of the first weight in its whole; that of the others is 0.
        tile: rows and columns of a kernel's tile, and its blocks.
    """

    operation: str = "perturb_low_rank"
    shapes: tuple[tuple[int, int], ...] = SHAPES
    rank: int = 2
    dtype: torch.dtype = FLOAT
    gap: int = 0
    first: int = 0
    stochastic: bool = False
    decay: float = 0.9
    tile: tuple[int, int, int] = (8, 32, 32)

    def weights(self) -> list[Tensor]:
        """Return the weights, equal ones at every call."""
        generator = torch.Generator().manual_seed(0)
        weights = []
        for rows, columns in self.shapes:
            whole = torch.full((rows, columns + self.gap), math.nan, dtype=self.dtype)
            whole[:, :columns].copy_(torch.randn(rows, columns, dtype=DOUBLE, generator=generator))
            weights.append(whole[:, :columns])
        return weights

    def factors(self, side: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1 + side)
        return [torch.randn(shape[side], self.rank, generator=generator) for shape in self.shapes]

    @property
    def firsts(self) -> list[int]:
        return [self.first, *[0] * (len(self.shapes) - 1)]

    @property
    def indices(self) -> list[int]:
        return [2**32 - 1, *range(3, 2 + len(self.shapes))]

    @property
    def coefficient(self) -> float:
        return -0.01

    def run(self, implementation: Any) -> list[Tensor]:
        """Return what an implementation makes of the weights."""
        weights, number = self.weights(), torch.tensor(self.coefficient, dtype=DOUBLE)
        rounding = torch.tensor([5, -7]) if self.stochastic else None
        drawn = (SEED, torch.tensor(MOMENT), self.indices, 2 | 3 << 8, self.firsts)
        if self.operation == "perturb_full":
            implementation.perturb_full(weights, number, *drawn)
        elif self.operation == "perturb_low_rank":
            implementation.perturb_low_rank(weights, self.factors(1), number, *drawn, rounding)
        else:
            places = (self.indices, self.firsts, rounding)
            decay = torch.tensor(self.decay, dtype=DOUBLE)
            implementation.merge_low_rank(weights, self.factors(0), self.factors(1), number, decay, *places)
        return weights

    def dense(self) -> list[Tensor]:
        """Return the same in double precision, every product written out."""
        results = []
        for place, weight in enumerate(self.weights()):
            key = {"seed": SEED, "moment": MOMENT, "parameter_index": self.indices[place]}
            first, (rows, columns) = self.firsts[place], weight.shape
            if self.operation == "perturb_full":
                move = (
                    normal(weight.numel(), first=first, role=2 | 3 << 8, **key).view(rows, columns).double()
                )
            else:
                right = self.factors(1)[place].double()
                if self.operation == "merge_low_rank":
                    left = self.factors(0)[place]
                else:
                    left = normal(rows * self.rank, first=first * self.rank, role=2 | 3 << 8, **key)
                move = torch.einsum("ij,kj->ik", left.view(rows, self.rank).double(), right)
            kept = self.decay if self.operation == "merge_low_rank" else 1.0
            results.append(kept * weight.double() + self.coefficient * move)
        return results


OPERATIONS = ("perturb_low_rank", "perturb_full", "merge_low_rank")


def kernel_cases() -> list[Case]:
    cases = [
        Case(operation, dtype=dtype, gap=gap, first=first)
        for operation, (dtype, gap, first) in itertools.product(
            OPERATIONS, ((FLOAT, 0, 0), (FLOAT, 3, 7), (BRAIN, 16, 8), (BRAIN, 3, 7), (HALF, 16, 8))
        )
    ]
    # A pass takes up to four columns of the factors: fewer, as many, and more.
    cases += [Case("perturb_low_rank", rank=rank) for rank in (1, 4, 9)]
    cases += [Case("merge_low_rank", rank=rank) for rank in (3, 5, 16)]
    for operation in OPERATIONS:
        aligned = Case(operation, ((16, 32), (9, 48)), tile=(32, 128, 512))
        cases += [aligned, Case(operation, ((3, 5), (0, 4), (4, 0))), Case(operation, ((4, 16),), gap=16)]
    for operation, gap in itertools.product(OPERATIONS[::2], (0, 5)):
        cases.append(Case(operation, dtype=BRAIN, gap=gap, first=7, rank=5, stochastic=True))
    return cases


def places_of_bfloat16(numbers: Tensor) -> Tensor:
    bits = numbers.view(torch.int16).int()
    return torch.where(bits < 0, -(bits & 0x7FFF), bits)


def gaps_of(weights: list[Tensor], gap: int) -> Tensor:
    wholes = [
        weight.as_strided((weight.shape[0], weight.shape[1] + gap), (weight.shape[1] + gap, 1))
        for weight in weights
    ]
    return torch.cat([whole[:, whole.shape[1] - gap :].flatten() for whole in wholes])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("triton")
    path = tmp_path_factory.mktemp("interpreted") / "outcomes.pt"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, __file__, str(path)], env=environment, check=True)
    loaded: dict[str, Any] = torch.load(path)
    return loaded


@pytest.fixture(scope="module")
def interpreted(outcomes: dict[str, Any]) -> dict[Case, list[Tensor]]:
    return dict(zip(kernel_cases(), outcomes["cases"], strict=True))


@pytest.mark.parametrize("case", kernel_cases(), ids=str)
def test_kernels_agree_with_the_reference(case: Case, interpreted: dict[Case, list[Tensor]]) -> None:
    expected = case.run(low_rank_update_reference)
    for ours, theirs, before in zip(interpreted[case], expected, case.weights(), strict=True):
        assert ours.dtype == case.dtype
        if case.dtype == BRAIN:
            # The interpreter cuts off what a device rounds.
            steps = (places_of_bfloat16(ours) - places_of_bfloat16(theirs)).abs()
            assert steps.numel() == 0 or steps.max() <= 1
            if case.stochastic:
                assert float((steps > 0).float().mean()) < 0.01
        else:
            tolerance = 1e-6 if case.dtype == FLOAT else 2**-10
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
        assert ours.numel() < 10 or not torch.equal(ours, before)
    if case.gap:
        gaps = gaps_of(interpreted[case], case.gap)
        assert gaps.numel()
        assert gaps.isnan().all()


def test_normal_numbers_of_the_kernels_are_those_of_the_cpu_to_1e_6(outcomes: dict[str, Any]) -> None:
    key = {"seed": SEED, "moment": MOMENT, "parameter_index": 6, "role": 1}
    torch.testing.assert_close(outcomes["z"].flatten(), normal(40_000, **key), rtol=0.0, atol=1e-6)
    torch.testing.assert_close(outcomes["u"].flatten(), normal(4_000, **key), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(("rank", "gap"), [(1, 0), (2, 3), (3, 0), (16, 3)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_reference_is_the_dense_formula(operation: str, gap: int, rank: int) -> None:
    for dtype, tolerance in ((DOUBLE, 1e-14), (FLOAT, 1e-6)):
        case = Case(operation, rank=rank, dtype=dtype, gap=gap, first=3)
        results = case.run(low_rank_update_reference)
        for result, expected in zip(results, case.dense(), strict=True):
            torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)
        assert gaps_of(results, gap).isnan().all()


@pytest.mark.parametrize("dtype", [BRAIN, HALF], ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_half_precision_is_rounded_once(operation: str, dtype: torch.dtype) -> None:
    """And so lies within half a step of the exact result."""
    shapes = ((300, 701), (5, 70_000))
    case = Case(operation, shapes, dtype=dtype, gap=1)
    for result, expected in zip(case.run(low_rank_update_reference), case.dense(), strict=True):
        half_step = torch.finfo(dtype).eps / 2
        error = (result.double() - expected).abs()
        assert bool((error <= half_step * expected.abs() * (1 + 1e-3) + 1e-6).all())


@pytest.mark.parametrize("operation", OPERATIONS[::2])
def test_stochastic_rounding_takes_the_bits_of_the_element(operation: str) -> None:
    """Of the float32 result, by parameter and place in the whole weight."""
    case = Case(operation, ((300, 701),), dtype=BRAIN, gap=1, first=4, stochastic=True)
    (result,) = case.run(low_rank_update_reference)
    (wide,) = case.weights()
    wide = wide.float()
    factor = case.factors(0)[0]
    if operation == "perturb_low_rank":
        key = {"seed": SEED, "moment": MOMENT, "parameter_index": case.indices[0], "role": 2 | 3 << 8}
        factor = normal(600, first=8, **key).view(300, 2)
    else:
        wide.mul_(case.decay)
    wide.addmm_(factor * case.coefficient, case.factors(1)[0].T)
    expected = round_stochastically(wide, (case.indices[0], 5, -7), first_index=4 * 701)
    assert float((result != expected).float().mean()) < 1e-4
    assert not torch.equal(result, wide.bfloat16())


def test_a_stochastic_merge_keeps_what_rounding_to_nearest_loses() -> None:
    """1,000 moves of a hundredth of a step each: nearest stays, the mean of stochastic ones arrives."""
    left, right = torch.ones(64, 1), torch.ones(64, 1)
    nearest, stochastic = (torch.ones(64, 64, dtype=BRAIN) for _ in range(2))
    move = 0.01 * 2.0**-7
    for step in range(1000):
        merge_low_rank([nearest], [left], [right], move)
        merge_low_rank([stochastic], [left], [right], move, rounding=(0, step), parameter_indices=[0])
    assert torch.equal(nearest, torch.ones_like(nearest))
    # A walk of 1,000 steps up or not, each with the chance 0.01: mean 10, standard deviation 3.2 of a step.
    assert float((stochastic.double() - 1).mean()) == pytest.approx(1000 * move, rel=4 * 3.2 / 10 / 64)


@pytest.mark.parametrize("dtype", [FLOAT, BRAIN], ids=str)
@pytest.mark.parametrize("operation", ["perturb_low_rank", "perturb_full", "merge_low_rank", "stochastic"])
def test_shards_of_rows_move_like_rows_of_the_whole(operation: str, dtype: torch.dtype) -> None:
    whole = torch.randn(37, 23).to(dtype)
    shards = [whole[:5].clone(), whole[5:11].clone(), whole[11:].clone()]
    left, right = torch.randn(37, 3), torch.randn(23, 3)
    rounding = {"rounding": (1, 2)} if operation == "stochastic" else {}

    def apply(weight: Tensor, first_row: int) -> None:
        key: dict[str, Any] = {"parameter_indices": [4]}
        drawn: dict[str, Any] = {"seed": 1, "moment": 2, "role": 0, **key}
        if operation == "perturb_full":
            perturb_full([weight], 0.1, first_elements=[23 * first_row], **drawn)
        elif operation == "merge_low_rank":
            rows = left[first_row : first_row + len(weight)]
            merge_low_rank([weight], [rows], [right], 0.1, first_rows=[first_row], **key)
        else:
            perturb_low_rank([weight], [right], 0.1, rank=3, first_rows=[first_row], **rounding, **drawn)

    apply(whole, 0)
    for shard, first_row in zip(shards, (0, 5, 11), strict=True):
        apply(shard, first_row)
    together = torch.cat(shards)
    if dtype == FLOAT:
        torch.testing.assert_close(together, whole, rtol=1e-6, atol=1e-6)
    else:
        # The product of other numbers of rows may differ in its last bit, and then once in a while here too.
        assert float((together != whole).float().mean()) < 0.005
    if operation == "perturb_full":
        assert torch.equal(together, whole)


def test_one_call_for_many_is_one_call_for_each() -> None:
    """Vectors beside matrices, of several dtypes; the order does not matter."""
    key: dict[str, Any] = {"seed": 3, "moment": 1, "role": 2}
    shapes = [(70_001,), (3,), (40, 5), (300, 300)]
    dtypes = [FLOAT, BRAIN, DOUBLE, FLOAT]
    together, alone = (
        [torch.zeros(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        for _ in range(2)
    )
    perturb_full(together[::-1], 0.5, parameter_indices=range(3, -1, -1), **key)
    for index, weight in enumerate(alone):
        perturb_full([weight], 0.5, parameter_indices=[index], **key)
    for one, two in zip(together, alone, strict=True):
        assert torch.equal(one, two)
        assert one.any()


def test_there_and_back_again() -> None:
    weight = torch.randn(50, 40)
    before, right = weight.clone(), torch.randn(40, 4)
    key: dict[str, Any] = {"seed": 3, "moment": 1, "role": 0, "parameter_indices": [0]}
    for coefficient in (1e-3, -2e-3, 1e-3):
        perturb_low_rank([weight], [right], coefficient, rank=4, **key)
        perturb_full([weight], coefficient, **key)
    torch.testing.assert_close(weight, before, rtol=0.0, atol=1e-6)


def test_numbers_may_be_tensors() -> None:
    weights = [torch.ones(6, 5, dtype=DOUBLE) for _ in range(4)]
    right = torch.randn(5, 2)
    key: dict[str, Any] = {"seed": 3, "role": 0, "parameter_indices": [0]}
    perturb_low_rank([weights[0]], [right], 0.1, rank=2, moment=9, **key)
    tensor = torch.tensor([0.1], dtype=DOUBLE)
    perturb_low_rank([weights[1]], [right], tensor, rank=2, moment=torch.tensor(9), **key)
    assert torch.equal(weights[0], weights[1])
    perturb_full([weights[0]], 0.1, moment=9, **key)
    perturb_full([weights[1]], tensor[0], moment=torch.tensor([9], dtype=torch.int32), **key)
    assert torch.equal(weights[0], weights[1])
    merge_low_rank([weights[2]], [right[:1].expand(6, 2)], [right], 0.1, 0.5)
    half = torch.tensor(0.5, dtype=DOUBLE)
    merge_low_rank([weights[3]], [right[:1].expand(6, 2)], [right], tensor, half)
    assert torch.equal(weights[2], weights[3])


def test_nothing_to_do() -> None:
    key: dict[str, Any] = {"seed": 0, "moment": 0, "role": 0}
    perturb_low_rank([], [], 1.0, parameter_indices=[], rank=2, **key)
    perturb_full([], 1.0, parameter_indices=[], **key)
    perturb_full([torch.empty(0), torch.empty(4, 0)], 1.0, parameter_indices=[0, 1], **key)
    merge_low_rank([], [], [])
    # Empty weights beside one that is not: it moves as it does alone.
    alone, beside = [[torch.zeros(4, 4)], [torch.empty(0, 4), torch.zeros(4, 4), torch.empty(4, 0)]]
    rights = [torch.ones(4, 2), torch.ones(4, 2), torch.empty(0, 2)]
    for weights, places in ((alone, slice(1, 2)), (beside, slice(3))):
        indices = range(3)[places]
        perturb_low_rank(weights, rights[places], 1.0, parameter_indices=indices, rank=2, **key)
        perturb_full([*weights, torch.empty(0)], 1.0, parameter_indices=[*indices, 3], **key)
        merge_low_rank(weights, [torch.ones(len(weight), 2) for weight in weights], rights[places])
    assert torch.equal(beside[1], alone[0])
    assert alone[0].all()


def test_random_state_is_untouched() -> None:
    before = torch.get_rng_state()
    for operation in OPERATIONS:
        Case(operation).run(low_rank_update_reference)
    assert torch.equal(torch.get_rng_state(), before)


class LargestNewStorage(TorchDispatchMode):
    """The size in bytes of the largest storage that an operation returned, known ones apart."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = function(*args, **(kwargs or {}))
        for result in results if isinstance(results, list | tuple) else [results]:
            if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in self._known:
                self.largest = max(self.largest, result.untyped_storage().nbytes())
        return results


@pytest.mark.parametrize(
    ("dtype", "stochastic"), [(FLOAT, True), (DOUBLE, False), (BRAIN, False), (BRAIN, True)], ids=str
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_8_no_tensor_of_a_weights_size_is_made(
    operation: str, dtype: torch.dtype, stochastic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (2048, 1536)
    case = Case(operation, (shape,), dtype=dtype, gap=64, stochastic=stochastic)
    weights = case.weights()
    monkeypatch.setattr(Case, "weights", lambda self: weights)
    with LargestNewStorage(weights) as recorder:
        case.run(low_rank_update_reference)
    assert 0 < recorder.largest <= 2**21
    assert recorder.largest < shape[0] * shape[1] * dtype.itemsize / 2


def test_torch_knows_what_the_operations_write() -> None:
    operations = torch.ops.graftwork_optim_core
    weights, rights, lefts = [torch.randn(4, 3)], [torch.randn(3, 2)], [torch.randn(4, 2)]
    number, moment, parts = torch.tensor(0.1), torch.tensor(5), torch.tensor([1, 2])
    drawn = (3, moment, [1], 0, [0])
    low_rank = (weights, rights, number, *drawn, parts)
    merged = (weights, lefts, rights, number, number, [1], [0], None)
    for operation, arguments in (
        (operations.perturb_low_rank, low_rank),
        (operations.perturb_full, (weights, number, *drawn)),
        (operations.merge_low_rank, merged),
    ):
        found = torch.library.opcheck(operation.default, arguments, raise_exception=False)
        assert set(found.values()) == {"SUCCESS"}, found


def test_without_triton_a_device_runs_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_rank_update, "_has_triton", lambda: False)
    on_device: Any = SimpleNamespace(is_cuda=True)
    assert low_rank_update._by_implementation([on_device]) == [(low_rank_update_reference, [0])]


def test_a_device_runs_one_launch_a_dtype_and_the_reference_for_double() -> None:
    kernels = pytest.importorskip("graftwork_optim_core.kernels.low_rank_update_triton")
    dtypes = (FLOAT, DOUBLE, FLOAT, BRAIN)
    on_device: Any = [SimpleNamespace(is_cuda=True, dtype=dtype) for dtype in dtypes]
    assert low_rank_update._by_implementation(on_device) == [
        (kernels, [0, 2]),
        (low_rank_update_reference, [1]),
        (kernels, [3]),
    ]


GOOD: dict[str, Any] = {
    **{"weights": [torch.zeros(4, 3)], "rights": [torch.zeros(3, 2)], "coefficient": 1.0, "rank": 2},
    **{"seed": 0, "moment": 0, "parameter_indices": [0], "role": 0},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": [torch.zeros(3)]}, "matrix with contiguous rows, got shape"),
        ({"weights": [torch.zeros(3, 4).T]}, "matrix with contiguous rows, got shape .* strides \\(1, 4\\)"),
        ({"weights": [torch.zeros(4, 3, dtype=torch.int8)]}, "floating dtype, got torch.int8"),
        ({"rights": []}, "rights must be one matrix a weight, got 0 for 1"),
        ({"rights": [torch.zeros(4, 2)]}, "rights must have shape \\(3, 2\\) here, got \\(4, 2\\)"),
        ({"rights": [torch.zeros(3, 2, dtype=BRAIN)]}, "rights must be float32 or float64, got"),
        ({"rights": [torch.zeros(3, 2, device="meta")]}, "rights must be on the weights' device cpu"),
        ({"rank": 3}, "rights must have shape \\(3, 3\\)"),
        ({"coefficient": torch.zeros(2)}, "coefficient must be a number or a tensor of one"),
        ({"coefficient": torch.zeros((), device="meta")}, "coefficient must be .* on cpu, got shape"),
        ({"seed": -1}, "seed must be from 0 below 2\\*\\*64, got -1"),
        ({"moment": 2**32}, "moment must be from 0 below 2\\*\\*32"),
        ({"role": -1}, "role must be from 0"),
        ({"parameter_indices": [0, 1]}, "parameter_indices must be one number a weight, got 2 for 1"),
        ({"parameter_indices": [-1]}, "parameter_indices must be from 0"),
        ({"first_rows": [0, 0]}, "first_rows must be one number a weight"),
        ({"first_rows": [-1]}, "first_rows must be 0 or more, got -1"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    perturb_low_rank(**GOOD)
    with pytest.raises(ValueError, match=message):
        perturb_low_rank(**{**GOOD, **changes})


def test_weights_on_two_devices_are_refused() -> None:
    weights = [torch.zeros(4, 3), torch.zeros(4, 3, device="meta")]
    with pytest.raises(ValueError, match="all weights must be on one device, got cpu and meta"):
        perturb_full(weights, 1.0, seed=0, moment=0, parameter_indices=[0, 1], role=0)


def test_a_merge_without_parameters_is_not_rounded_stochastically() -> None:
    weight, factor = torch.zeros(3, 3, dtype=BRAIN), torch.ones(3, 1)
    with pytest.raises(ValueError, match="rounding needs parameter_indices"):
        merge_low_rank([weight], [factor], [factor], rounding=(1, 2))
    with pytest.raises(ValueError, match="rights must be 1 matrices"):
        merge_low_rank([weight], [factor], [torch.ones(3)])


def interpret_all(path: Path) -> None:
    """Run every case through the kernels, and draw plain normal numbers with them."""
    from graftwork_optim_core.kernels import low_rank_update_triton as kernels

    torch.set_num_threads(1)
    results = []
    for case in kernel_cases():
        kernels._TILE_ROWS, kernels._TILE_COLUMNS, kernels._TILE_BLOCKS = case.tile
        results.append(case.run(kernels))
    kernels._TILE_ROWS, kernels._TILE_COLUMNS, kernels._TILE_BLOCKS = (1024, 4, 2048)
    z, u = torch.zeros(100, 400), torch.zeros(4000, 1)
    drawn = (torch.tensor(1.0), SEED, torch.tensor(MOMENT), [6], 1, [0])
    kernels.perturb_full([z], *drawn)
    kernels.perturb_low_rank([u], [torch.ones(1, 1)], *drawn, None)
    torch.save({"cases": results, "z": z, "u": u}, path)


if __name__ == "__main__":
    interpret_all(Path(sys.argv[1]))
