"""Bases are orthonormal whatever the gradient, span what they should, and do not depend on who holds which
rows.

Reached from here: ``lowrank/singular_bases.py``.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from graftwork_optim_core.lowrank import bases
from graftwork_optim_core.lowrank.bases import BasisVerdict, basis_of, overlap
from graftwork_optim_core.lowrank.linear_algebra import LinAlgError, RowExchange
from graftwork_optim_core.lowrank.random_basis import mixed_seed, random_basis

METHODS = ("svd", "gram", "rsvd", "power", "random")
DATA_METHODS = METHODS[:-1]
SIDES = ("left", "right")
SHAPES = [(48, 20), (20, 48), (32, 32), (1, 1), (1, 7), (7, 1), (2, 3)]


def with_singular_values(rows: int, width: int, values: Tensor, seed: int = 0) -> Tensor:
    left = random_basis(rows, len(values), (seed, 0, 0), torch.float64)
    right = random_basis(width, len(values), (seed, 1, 0), torch.float64)
    return (left * values) @ right.T


def power_law(rows: int, width: int, exponent: float = -0.7) -> Tensor:
    return with_singular_values(rows, width, torch.arange(1, min(rows, width) + 1).double() ** exponent)


def found(method: Any, gradient: Tensor, rank: int, side: Any, **options: Any) -> Tensor:
    result = basis_of(method, gradient, rank, side, **options)
    assert result.verdict is BasisVerdict.FOUND
    assert result.basis is not None
    return result.basis


def captured_energy(gradient: Tensor, basis: Tensor, side: str) -> float:
    coarse = gradient @ basis.to(gradient.dtype) if side == "right" else basis.to(gradient.dtype).T @ gradient
    return float(coarse.square().sum())


def assert_orthonormal(basis: Tensor, size: int, rank: int, tolerance: float = 1e-5) -> None:
    assert basis.shape == (size, rank)
    exact = basis.double()
    assert (exact.T @ exact - torch.eye(rank, dtype=torch.float64)).abs().max() < tolerance


def span_distance(one: Tensor, other: Tensor) -> float:
    """Return the sine of the largest angle between two spans."""
    residual = one.double() - other.double() @ (other.double().T @ one.double())
    return float(torch.linalg.matrix_norm(residual, 2))


def start(gradient: Tensor, rank: int, side: str) -> Tensor:
    return random_basis(gradient.shape[0 if side == "left" else 1], rank, (9, 9, 9), torch.float64)


def size_of(shape: tuple[int, int], side: str) -> int:
    return shape[0] if side == "left" else shape[1]


class BFloat16Products(TorchDispatchMode):
    """Rounds the factors of matrix products, as some devices do if a user allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.mm.default:
            self.count += 1
            args = tuple(factor.bfloat16().to(factor.dtype) for factor in args)
        return func(*args, **(kwargs or {}))


# --- one process ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", METHODS)
def test_g2_orthonormal_on_every_side_shape_and_rank(method: str, side: str) -> None:
    for shape in SHAPES:
        gradient = torch.randn(shape)
        for rank in sorted({1, -(-min(shape) // 2), min(shape)}):
            for previous in (None, start(gradient, rank, side)):
                basis = found(method, gradient, rank, side, previous=previous)
                assert basis.dtype == torch.float32
                assert_orthonormal(basis, size_of(shape, side), rank)


@pytest.mark.parametrize(
    ("shape", "side", "dtype"),
    [
        ((48, 20), "left", torch.float32),
        ((48, 20), "right", torch.float64),
        ((20, 48), "left", torch.float64),
        ((20, 48), "right", torch.float32),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_g2_orthonormal_where_the_gradient_has_a_lower_rank(
    method: str, shape: tuple[int, int], side: str, dtype: torch.dtype
) -> None:
    for true_rank, rank in ((1, 8), (3, min(shape))):
        gradient = (torch.randn(shape[0], true_rank) @ torch.randn(true_rank, shape[1])).to(dtype)
        basis = found(method, gradient, rank, side, previous=start(gradient, rank, side))
        assert_orthonormal(basis, size_of(shape, side), rank)
        if method != "random":
            energy = float(gradient.square().sum())
            assert captured_energy(gradient, basis, side) == pytest.approx(energy, rel=1e-5)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", METHODS)
def test_g2_orthonormal_where_only_one_entry_is_not_zero(method: str, side: str) -> None:
    # Every step that multiplies meets columns of exact zeros here.
    gradient = torch.zeros(12, 9)
    gradient[4, 5] = 2.0
    for rank in (1, 4, 9):
        previous = torch.eye(12 if side == "left" else 9)[:, :rank]
        basis = found(method, gradient, rank, side, previous=previous)
        assert_orthonormal(basis, 12 if side == "left" else 9, rank)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("shape", [(96, 40), (40, 96), (64, 64)])
@pytest.mark.parametrize("options", [{}, {"gram_in_float64": True}])
def test_g2_span_of_gram_is_that_of_svd(shape: tuple[int, int], side: str, options: dict[str, bool]) -> None:
    values = 0.8 ** torch.arange(min(shape)).double()
    exact = with_singular_values(*shape, values)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        gram = found("gram", exact.to(dtype), 12, side, **options)
        svd = found("svd", exact, 12, side)
        assert gram.dtype == dtype
        assert span_distance(gram, svd) < tolerance


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("shape", [(96, 40), (40, 96)])
def test_gram_in_float64_keeps_directions_that_float32_loses(shape: tuple[int, int], side: str) -> None:
    # Eight singular values from 1 down to 1e-4, the others a tenth of the last: squares below 1e-8, which
    # float32 does not resolve.
    values = torch.cat([torch.logspace(0, -4, 8).double(), torch.full((32,), 1e-5).double()])
    distances = {True: 0.0, False: 0.0}
    for seed in range(3):
        exact = with_singular_values(*shape, values, seed)
        wanted = found("svd", exact, 8, side)
        for in_float64 in distances:
            basis = found("gram", exact.float(), 8, side, gram_in_float64=in_float64)
            distances[in_float64] = max(distances[in_float64], span_distance(basis, wanted))
    assert distances[True] < 1e-3
    assert distances[False] > 0.3


@pytest.mark.parametrize("side", SIDES)
def test_svd_and_gram_order_directions_by_their_singular_values(side: str) -> None:
    gradient = with_singular_values(30, 20, torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]).double())
    for method in ("svd", "gram", "rsvd"):
        basis = found(method, gradient, 4, side)
        coarse = gradient @ basis if side == "right" else gradient.T @ basis
        torch.testing.assert_close(coarse.norm(dim=0), torch.tensor([5.0, 4.0, 3.0, 2.0]).double())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("shape", [(256, 688), (688, 256), (320, 320)])
def test_g2_rsvd_captures_99_5_percent_of_the_optimum(shape: tuple[int, int], side: str) -> None:
    gradient, rank = power_law(*shape), 64
    optimum = captured_energy(gradient, found("svd", gradient, rank, side), side)
    for seed in range(3):
        basis = found("rsvd", gradient.float(), rank, side, power_steps=2, seed=(seed, 0, 0))
        assert captured_energy(gradient, basis, side) >= 0.995 * optimum
    # Fewer steps capture less, and no sketch at all does not pass: the bound is one that tells them apart.
    rough = found("rsvd", gradient.float(), rank, side, power_steps=0, oversampling=0)
    assert captured_energy(gradient, rough, side) < 0.95 * optimum


@pytest.mark.parametrize("side", SIDES)
def test_rsvd_is_exact_where_the_sketch_is_the_whole_space(side: str) -> None:
    gradient = with_singular_values(20, 12, torch.arange(12, 0, -1).double())
    basis = found("rsvd", gradient, 5, side, power_steps=0, oversampling=8)
    assert span_distance(basis, found("svd", gradient, 5, side)) < 1e-10


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("shape", [(256, 688), (688, 256)])
def test_g2_power_follows_a_drifting_gradient(shape: tuple[int, int], side: str) -> None:
    rank, drift = 64, 0.3
    gradient = power_law(*shape)
    noise = float(gradient.norm()) * drift / math.sqrt(gradient.numel())
    first = found("power", gradient.float(), rank, side)
    warm, cold = first, start(gradient, rank, side)
    for _ in range(4):
        gradient = gradient + noise * torch.randn(shape, dtype=torch.float64)
        warm = found("power", gradient.float(), rank, side, previous=warm)
        cold = found("power", gradient.float(), rank, side, previous=cold)
    optimum = captured_energy(gradient, found("svd", gradient, rank, side), side)
    assert captured_energy(gradient, warm, side) >= 0.99 * optimum
    assert captured_energy(gradient, cold, side) >= 0.97 * optimum
    # What was good four refreshes ago is so no more: the bounds ask for following.
    assert captured_energy(gradient, first, side) < 0.97 * optimum


@pytest.mark.parametrize("side", SIDES)
def test_power_finds_a_new_subspace_from_an_unrelated_one(side: str) -> None:
    gradient = power_law(120, 80, -1.0)
    optimum = captured_energy(gradient, found("svd", gradient, 10, side), side)
    basis = start(gradient, 10, side)
    energies = [captured_energy(gradient, basis, side) / optimum]
    for _ in range(6):
        basis = found("power", gradient, 10, side, previous=basis)
        energies.append(captured_energy(gradient, basis, side) / optimum)
    assert energies[0] < 0.5
    assert all(later > earlier for earlier, later in itertools.pairwise(energies))
    assert energies[-1] > 0.99


@pytest.mark.parametrize("side", SIDES)
def test_eq_power_step_is_orth_of_the_gram_matrix_times_the_basis(side: str) -> None:
    gradient = torch.randn(9, 14, dtype=torch.float64)
    previous = start(gradient, 4, side)
    gram = gradient @ gradient.T if side == "left" else gradient.T @ gradient
    basis = found("power", gradient, 4, side, previous=previous)
    # Of the span it is the basis with P_new^T (Gram P_old) upper triangular, its diagonal positive.
    triangle = basis.T @ gram @ previous
    assert span_distance(basis, torch.linalg.qr(gram @ previous)[0]) < 1e-12
    torch.testing.assert_close(triangle, triangle.triu(), rtol=0, atol=1e-12)
    assert (triangle.diagonal() > 0).all()


@pytest.mark.parametrize("side", SIDES)
def test_power_without_a_usable_previous_basis_is_gram(side: str) -> None:
    gradient = torch.randn(10, 16)
    gradient[:, 8:] = 0.0
    gradient[5:] = 0.0
    expected = found("gram", gradient, 3, side)
    size = size_of((10, 16), side)
    unreachable = torch.eye(size)[:, -3:]
    broken = torch.full((size, 3), math.nan)
    for previous in (None, unreachable, broken, torch.eye(size)[:, :2], torch.eye(size + 1)[:, :3]):
        assert torch.equal(found("power", gradient, 3, side, previous=previous), expected)


@pytest.mark.parametrize("method", DATA_METHODS)
@pytest.mark.parametrize(
    ("side", "bad", "dtype"),
    [
        ("left", math.nan, torch.float32),
        ("right", math.inf, torch.float64),
        ("left", -math.inf, torch.bfloat16),
        ("right", math.nan, torch.float16),
    ],
)
def test_g9_a_gradient_that_is_not_finite_has_no_basis(
    method: str, side: str, bad: float, dtype: torch.dtype
) -> None:
    gradient = torch.randn(6, 5).to(dtype)
    gradient[3, 2] = bad
    result = basis_of(method, gradient, 2, side, previous=start(gradient, 2, side))
    assert result.basis is None
    assert result.verdict is BasisVerdict.NOT_FINITE
    everywhere = basis_of(method, torch.full_like(gradient, bad), 2, side)
    assert everywhere.verdict is BasisVerdict.NOT_FINITE


@pytest.mark.parametrize("method", DATA_METHODS)
def test_g9_a_gradient_of_zeros_has_no_basis(method: str) -> None:
    for side, shape in itertools.product(SIDES, [(6, 5), (1, 1)]):
        result = basis_of(method, torch.zeros(shape), 1, side)
        assert result.basis is None
        assert result.verdict is BasisVerdict.ZERO


@pytest.mark.parametrize("side", SIDES)
def test_g9_a_random_basis_asks_nothing_of_the_gradient(side: str) -> None:
    for gradient in (torch.full((6, 5), math.nan), torch.zeros(6, 5), torch.randn(6, 5)):
        expected = random_basis(size_of((6, 5), side), 2, (1, 2, 3))
        assert torch.equal(found("random", gradient, 2, side, seed=(1, 2, 3)), expected)


@pytest.mark.parametrize("method", DATA_METHODS)
@pytest.mark.parametrize(
    ("side", "exponent"), [("left", -140), ("right", -100), ("left", 100), ("right", 126)]
)
def test_g9_sizes_whose_squares_leave_float32_are_as_good_as_any(
    method: str, side: str, exponent: int
) -> None:
    # 20 bits survive among float32's smallest numbers at 2 ** -129; at 2 ** -140 nine do.
    gradient = with_singular_values(24, 18, 0.5 ** torch.arange(18).double())
    exact = found("svd", gradient, 3, side)
    factor = 2.0 ** (exponent // 2)
    scaled = (gradient * factor * 2.0 ** (exponent - exponent // 2)).float()
    basis = found(method, scaled, 3, side, previous=exact)
    assert_orthonormal(basis, size_of((24, 18), side), 3)
    assert span_distance(basis, exact) < (1e-4 if exponent > -126 else 0.05)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", DATA_METHODS)
def test_g9_a_decomposition_that_fails_gives_way_to_the_next(
    method: str, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient = torch.randn(8, 6)
    previous = start(gradient, 2, side)

    def fail(*_: object, **__: object) -> Tensor:
        raise LinAlgError("no convergence")

    svd = found("svd", gradient, 2, side)
    for function in {"power": ("power_basis",), "rsvd": ("rsvd_basis",)}.get(method, ()):
        monkeypatch.setattr(bases, function, fail)
        basis = found(method, gradient, 2, side, previous=previous)
        assert torch.equal(basis, found("gram", gradient, 2, side))
    monkeypatch.setattr(bases, "gram_basis", fail)
    assert torch.equal(found(method, gradient, 2, side, previous=previous), svd)
    monkeypatch.setattr(bases, "svd_basis", fail)
    result = basis_of(method, gradient, 2, side, previous=previous)
    assert (result.basis, result.verdict) == (None, BasisVerdict.FAILED)


@pytest.mark.parametrize("name", ["eigh", "svd"])
def test_g9_torch_s_own_error_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Tensor:
        raise torch.linalg.LinAlgError("linalg: the algorithm failed to converge")

    monkeypatch.setattr(torch.linalg, name, fail)
    gradient = torch.randn(8, 6)
    verdict = basis_of("gram", gradient, 2, "left").verdict
    assert verdict is BasisVerdict.FOUND
    assert basis_of("svd", gradient, 2, "left").verdict is (
        BasisVerdict.FAILED if name == "svd" else BasisVerdict.FOUND
    )


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", METHODS)
def test_a_basis_owns_its_storage_and_no_more(method: str, side: str) -> None:
    for shape, rank in (((40, 24), 5), ((24, 40), 5), ((24, 24), 5), ((24, 24), 24), ((24, 24), 1)):
        gradient = torch.randn(shape)
        basis = found(method, gradient, rank, side, previous=start(gradient, rank, side))
        assert basis.untyped_storage().nbytes() == size_of(shape, side) * rank * 4
        assert basis.is_contiguous()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", METHODS)
def test_arguments_are_left_alone(method: str, side: str) -> None:
    gradient = torch.randn(12, 9, dtype=torch.float64)
    previous = start(gradient, 3, side)
    before = gradient.clone(), previous.clone()
    basis = found(method, gradient, 3, side, previous=previous)
    basis.zero_()
    assert torch.equal(gradient, before[0])
    assert torch.equal(previous, before[1])


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", METHODS)
def test_same_input_same_bits(method: str, side: str) -> None:
    gradient = torch.randn(70, 50)
    previous = start(gradient, 8, side)
    first = found(method, gradient, 8, side, previous=previous, seed=(3, 1, 4))
    torch.randn(5)
    assert torch.equal(first, found(method, gradient.clone(), 8, side, previous=previous, seed=(3, 1, 4)))


@pytest.mark.parametrize("method", METHODS)
def test_the_global_generator_is_left_alone(method: str) -> None:
    gradient = torch.randn(8, 6)
    before = torch.get_rng_state()
    found(method, gradient, 2, "left")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("dtype", "computed"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)]
)
def test_half_precision_is_computed_in_float32_and_float64_stays(
    method: str, dtype: torch.dtype, computed: torch.dtype
) -> None:
    gradient = torch.randn(20, 14).to(dtype)
    for side in SIDES:
        previous = start(gradient, 4, side).to(dtype)
        basis = found(method, gradient, 4, side, previous=previous)
        assert basis.dtype == computed
        assert torch.equal(basis, found(method, gradient.to(computed), 4, side, previous=previous))
        assert_orthonormal(basis, size_of((20, 14), side), 4, 1e-14 if computed == torch.float64 else 1e-5)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", METHODS)
def test_g2_orthonormal_under_a_reduced_matmul_precision(method: str, side: str) -> None:
    gradient = torch.randn(96, 160)
    with BFloat16Products() as products:
        basis = found(method, gradient, 32, side, previous=start(gradient, 32, side))
    assert products.count > 0 or method in ("svd", "random")
    assert_orthonormal(basis, size_of((96, 160), side), 32)


# --- random bases ---------------------------------------------------------------------------------------

DRAWS, SIZE, RANK = 20_000, 6, 2


@pytest.fixture(scope="module")
def draws() -> Tensor:
    return torch.stack([random_basis(SIZE, RANK, (7, 3, count), torch.float64) for count in range(DRAWS)])


def assert_uniform(sample: Tensor) -> None:
    """Check moments that the uniform distribution has exactly, each by its own exact standard error."""
    projections = sample @ sample.mT
    ratio = RANK / SIZE
    # The diagonal of a projection is Beta(r/2, (m-r)/2); each row's squares sum to its diagonal entry.
    on = 2 * ratio * (1 - ratio) / ((SIZE + 2) * DRAWS)
    off = RANK * (SIZE - RANK) / (SIZE * (SIZE + 2) * (SIZE - 1) * DRAWS)
    errors = torch.full((SIZE, SIZE), math.sqrt(off), dtype=torch.float64)
    errors.fill_diagonal_(math.sqrt(on))
    scores = (projections.mean(0) - ratio * torch.eye(SIZE, dtype=torch.float64)) / errors
    assert scores.abs().max() < 3.0
    above = scores[torch.triu(torch.ones(SIZE, SIZE), 1).bool()]
    assert above.square().sum() < 37.7  # 15 degrees of freedom: 0.1 %
    # Spans say nothing about the columns themselves: their mean is 0, their fourth moment 3 / (m (m + 2)).
    assert (sample.mean(0) * math.sqrt(SIZE * DRAWS)).abs().max() < 3.5
    fourth = 3 / (SIZE * (SIZE + 2))
    eighth = 105 / (SIZE * (SIZE + 2) * (SIZE + 4) * (SIZE + 6))
    spread = math.sqrt((eighth - fourth**2) / DRAWS)
    assert ((sample.pow(4).mean(0) - fourth) / spread).abs().max() < 3.5


def test_g3_mean_projection_and_moments_of_random_bases(draws: Tensor) -> None:
    assert_uniform(draws)


def test_g3_moments_do_not_change_under_a_fixed_rotation(draws: Tensor) -> None:
    rotation = random_basis(SIZE, SIZE, (1, 1, 1), torch.float64)
    turn = random_basis(RANK, RANK, (1, 1, 1), torch.float64)
    assert_uniform(rotation @ draws)
    assert_uniform(draws @ turn)


def test_g3_the_check_of_moments_refuses_a_factor_with_lapack_s_signs() -> None:
    factors = torch.linalg.qr(torch.randn(DRAWS, SIZE, RANK, dtype=torch.float64))[0]
    with pytest.raises(AssertionError):
        assert_uniform(factors)


def test_g3_the_same_integers_give_the_same_basis_and_others_another() -> None:
    triples = list(itertools.product((0, 1, 2, 2**31, -1), (0, 1, 2), (0, 1, 2)))
    made = {triple: random_basis(16, 4, triple) for triple in triples}
    torch.randn(3)
    for triple, basis in made.items():
        assert torch.equal(random_basis(16, 4, triple), basis)
    for (_, one), (_, other) in itertools.combinations(made.items(), 2):
        # Independent directions of 16 dimensions: one in millions of pairs would come so near.
        assert (one.T @ other).abs().max() < 0.97


def test_g3_seeds_are_mixed_down_to_the_bits_that_the_generator_reads() -> None:
    grid = itertools.product(range(8), range(64), range(64))
    lower = {mixed_seed(triple) & 0xFFFFFFFF for triple in grid}
    # 32,768 of 2 ** 32: one pair in eight such grids is expected to meet.
    assert len(lower) >= 32_768 - 2
    assert 0 <= mixed_seed((-1, 2**70, 5)) < 2**64


def test_splitmix64_as_published() -> None:
    # The first output of the published generator started at 0.
    assert mixed_seed((0,)) == 0xE220A8397B1DCDAF


# --- old and new ----------------------------------------------------------------------------------------


def test_eq_momentum_projection_by_the_overlap() -> None:
    old, new = (random_basis(12, 3, (0, 0, count), torch.float64) for count in (0, 1))
    momentum = torch.randn(3, 8, dtype=torch.float64)
    torch.testing.assert_close(overlap(old, new) @ momentum, new.T @ (old @ momentum))
    torch.testing.assert_close(momentum.T @ overlap(old, new).T, (momentum.T @ old.T) @ new)


def test_g4_momentum_is_unchanged_where_the_spans_are_equal() -> None:
    old = random_basis(12, 3, (0, 0, 0), torch.float64)
    new = old @ random_basis(3, 3, (0, 0, 1), torch.float64)
    momentum = torch.randn(3, 8, dtype=torch.float64)
    torch.testing.assert_close(new @ (overlap(old, new) @ momentum), old @ momentum)


# --- rows in several processes --------------------------------------------------------------------------


@dataclass
class Exchange:
    """A meeting place of as many threads as there are shards."""

    sizes: Sequence[int]
    slots: list[Tensor] = field(init=False)
    barrier: threading.Barrier = field(init=False)

    def __post_init__(self) -> None:
        self.slots = [torch.empty(0)] * len(self.sizes)
        self.barrier = threading.Barrier(len(self.sizes), timeout=60)

    def all(self, place: int, tensor: Tensor) -> list[Tensor]:
        self.slots[place] = tensor.clone()
        self.barrier.wait()
        seen = list(self.slots)
        self.barrier.wait()
        return seen


@dataclass
class ShardRows:
    exchange: Exchange
    place: int
    gathered: int = 0

    def sum(self, tensor: Tensor, /) -> Tensor:
        return tensor.copy_(torch.stack(self.exchange.all(self.place, tensor)).sum(0))

    def gather(self, local: Tensor, /) -> Tensor:
        assert local.shape[0] == self.exchange.sizes[self.place]
        self.gathered += local.shape[1]
        return torch.cat(self.exchange.all(self.place, local))

    def own(self, whole: Tensor, /) -> Tensor:
        return whole.split(list(self.exchange.sizes))[self.place]


def in_shards(sizes: Sequence[int], job: Callable[[int, ShardRows], Any]) -> list[Any]:
    """Return what the job returns in each shard, run at once."""
    exchange = Exchange(sizes)
    results: list[Any] = [None] * len(sizes)
    failures: list[BaseException] = []

    def work(place: int) -> None:
        try:
            results[place] = job(place, ShardRows(exchange, place))
        except BaseException as failure:
            exchange.barrier.abort()
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise next((f for f in failures if not isinstance(f, threading.BrokenBarrierError)), failures[0])
    return results


SPREADS = [
    ((12, 7), (12,)),
    ((12, 7), (1, 9, 2)),
    ((7, 12), (0, 7)),
    ((9, 9), (2, 0, 4, 3)),
    ((1, 5), (1, 0)),
]


def spread_basis(
    method: str, gradient: Tensor, sizes: Sequence[int], rank: int, side: str, previous: Tensor | None
) -> tuple[list[bases.BasisResult], list[int]]:
    parts = gradient.split(list(sizes))

    def job(place: int, rows: ShardRows) -> tuple[bases.BasisResult, int]:
        own = previous
        if side == "left" and previous is not None:
            own = previous.split(list(sizes))[place]
        shape = (gradient.shape[0], gradient.shape[1])
        result = basis_of(
            method,
            parts[place],
            rank,
            side,
            shape=shape,
            rows=rows,
            previous=own,
            seed=(5, 0, 1),
            oversampling=1,
        )
        return result, rows.gathered

    answers = in_shards(sizes, job)
    return [result for result, _ in answers], [gathered for _, gathered in answers]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("shape", "sizes"), SPREADS)
@pytest.mark.parametrize("method", METHODS)
def test_spread_rows_give_the_basis_of_the_whole(
    method: str, shape: tuple[int, int], sizes: tuple[int, ...], side: str
) -> None:
    gradient = with_singular_values(*shape, 0.7 ** torch.arange(min(shape)).double())
    for rank in sorted({1, min(3, min(shape)), min(shape)}):
        previous = start(gradient, rank, side)
        whole = found(method, gradient, rank, side, previous=previous, seed=(5, 0, 1), oversampling=1)
        results, _ = spread_basis(method, gradient, sizes, rank, side, previous)
        parts = [result.basis for result in results]
        assert all(part is not None and part.dtype == torch.float64 for part in parts)
        for part, size in zip(parts, sizes, strict=True):
            rows = size if side == "left" else shape[1]
            assert part.shape == (rows, rank)
            assert part.untyped_storage().nbytes() == rows * rank * 8
        if side == "left":
            together = torch.cat(parts)
        else:
            together = parts[0]
            # Bit for bit, else the processes' projected gradients drift apart.
            assert all(torch.equal(part, together) for part in parts)
        assert_orthonormal(together, size_of(shape, side), rank, 1e-12)
        signs = (together * whole).sum(0).sign()
        assert (together * signs - whole).abs().max() < 1e-12


@pytest.mark.parametrize("method", DATA_METHODS)
@pytest.mark.parametrize(("side", "where"), [("left", 0), ("right", 5), ("left", 11)])
def test_g9_all_processes_see_what_one_of_them_has(method: str, side: str, where: int) -> None:
    zeros = torch.zeros(12, 7)
    broken = zeros.clone()
    broken[where, 3] = math.nan
    lonely = zeros.clone()
    lonely[where, 3] = 1.0
    for gradient, verdict in (
        (zeros, BasisVerdict.ZERO),
        (broken, BasisVerdict.NOT_FINITE),
        (lonely, BasisVerdict.FOUND),
    ):
        results, _ = spread_basis(method, gradient, (5, 0, 4, 3), 2, side, None)
        assert [result.verdict for result in results] == [verdict] * 4
        assert all((result.basis is None) == (verdict is not BasisVerdict.FOUND) for result in results)


@pytest.mark.parametrize("side", SIDES)
def test_power_from_an_unusable_basis_gives_way_in_all_processes(side: str) -> None:
    gradient = torch.zeros(12, 7, dtype=torch.float64)
    gradient[:3, :3] = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    previous = torch.eye(size_of((12, 7), side), dtype=torch.float64)[:, -2:]
    results, _ = spread_basis("power", gradient, (5, 4, 3), 2, side, previous)
    together = torch.cat([r.basis for r in results]) if side == "left" else results[0].basis
    assert span_distance(together, found("svd", gradient, 2, side)) < 1e-12


@pytest.mark.parametrize(
    ("method", "shape", "side", "columns"),
    [
        ("gram", (12, 7), "right", 0),
        ("gram", (9, 9), "right", 0),
        ("gram", (12, 7), "left", 2),
        ("gram", (7, 12), "left", 12),
        ("gram", (7, 12), "right", 12),
        ("svd", (12, 7), "right", 7),
        ("rsvd", (12, 7), "right", 0),
        ("rsvd", (12, 7), "left", 3),
        ("power", (12, 7), "right", 0),
        ("power", (12, 7), "left", 2),
        ("random", (12, 7), "right", 0),
        ("random", (12, 7), "left", 0),
    ],
)
def test_how_many_columns_are_gathered(method: str, shape: tuple[int, int], side: str, columns: int) -> None:
    gradient = torch.randn(shape)
    sizes = (shape[0] - 4, 3, 1)
    _, gathered = spread_basis(method, gradient, sizes, 2, side, start(gradient, 2, side))
    assert gathered == [columns] * 3


def test_a_random_basis_needs_no_other_process() -> None:
    class Alone:
        def sum(self, tensor: Tensor, /) -> Tensor:
            raise AssertionError("a sum over processes")

        def gather(self, local: Tensor, /) -> Tensor:
            raise AssertionError("a gather")

        def own(self, whole: Tensor, /) -> Tensor:
            return whole[4:6]

    rows: RowExchange = Alone()
    part = found("random", torch.randn(2, 5), 3, "left", shape=(9, 5), rows=rows, seed=(1, 1, 1))
    assert torch.equal(part, random_basis(9, 3, (1, 1, 1))[4:6])


def test_overlaps_of_spread_bases_are_those_of_whole_ones() -> None:
    sizes = (5, 0, 4, 3)
    old, new = (random_basis(12, 4, (0, 0, count), torch.float64) for count in (0, 1))
    parts = list(zip(old.split(list(sizes)), new.split(list(sizes)), strict=True))

    def job(place: int, rows: ShardRows) -> Tensor:
        before, after = parts[place]
        return overlap(before, after, rows)

    for product in in_shards(sizes, job):
        torch.testing.assert_close(product, new.T @ old, rtol=0, atol=1e-14)
