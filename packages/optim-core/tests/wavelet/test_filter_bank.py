"""The filter bank against PyWavelets, against its inverse, and against the closed form in the Haar basis."""

from __future__ import annotations

import builtins
import itertools
import warnings
from typing import Any

import pytest
import pywt
import torch
from torch import Tensor

from graftwork_optim_core.numerics.haar import block_sums, spread_blocks
from graftwork_optim_core.wavelet.filter_bank import (
    BOUNDARY_MODES,
    BoundaryMode,
    FilterBank,
    _orthogonal_bank,
)

BASES = ["haar", "db2", "db4", "sym4", "coif1"]
LEVELS = [1, 2, 3, 4]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def pywavelets(matrix: Tensor, basis: str, level: int, mode: str) -> list[Tensor]:
    """Return what PyWavelets returns, where it would only warn that the level is deep for the width."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return [torch.from_numpy(part) for part in pywt.wavedec(matrix.numpy(), basis, mode, level, axis=-1)]


def back_from_pywavelets(coefficients: list[Tensor], basis: str) -> Tensor:
    return torch.from_numpy(pywt.waverec([part.numpy() for part in coefficients], basis, "zero", axis=-1))


def smallest_width(basis: str, level: int, mode: str) -> int:
    """PyWavelets does not reflect a single column: the widths from which on it meets none at any level."""
    if mode != "reflect":
        return 1
    bank = FilterBank.named(basis)
    return next(width for width in itertools.count(2) if min(bank.coefficient_widths(width, level - 1)) > 1)


@pytest.mark.parametrize("level", [1, 3])
@pytest.mark.parametrize("mode", BOUNDARY_MODES)
@pytest.mark.parametrize("basis", BASES)
def test_coefficients_are_those_of_pywavelets_at_every_width_and_lead_back(
    basis: str, mode: BoundaryMode, level: int
) -> None:
    bank, error = FilterBank.named(basis), 1e-12 if basis in ("haar", "db2", "db4") else 1e-10
    # Longer rows than two filters of the deepest level are like one another.
    for width in [*range(smallest_width(basis, level, mode), 34), 64, 171]:
        matrix = torch.randn(2, width, dtype=torch.float64)
        expected = pywavelets(matrix, basis, level, mode)
        found = bank.analyze(matrix, level, mode)
        assert bank.coefficient_widths(width, level) == tuple(part.shape[1] for part in expected)
        for part, expected_part in zip(found, expected, strict=True):
            torch.testing.assert_close(part, expected_part, rtol=0, atol=1e-13)
            assert part.is_contiguous()
        torch.testing.assert_close(bank.approximate(matrix, level, mode), found[0], rtol=0, atol=0)
        again = bank.synthesize(found, width)
        assert again.shape == matrix.shape
        assert (again - matrix).abs().max() < error


@pytest.mark.parametrize("basis", ["db13", "db20", "sym9", "coif5", "coif17"])
def test_long_filters_are_those_of_pywavelets(basis: str) -> None:
    bank = FilterBank.named(basis)
    for mode, width in itertools.product(BOUNDARY_MODES, (2, 7, 64, 301)):
        matrix = torch.randn(2, width, dtype=torch.float64)
        found = bank.analyze(matrix, 2, mode)
        for part, expected in zip(found, pywavelets(matrix, basis, 2, mode), strict=True):
            torch.testing.assert_close(part, expected, rtol=0, atol=1e-13)
        torch.testing.assert_close(bank.synthesize(found, width), matrix, rtol=0, atol=1e-12)


@pytest.mark.parametrize("basis", BASES)
def test_a_single_column_reflected_is_that_column_again(basis: str) -> None:
    bank, column = FilterBank.named(basis), torch.randn(3, 1, dtype=torch.float64)
    reflected, constant = bank.analyze(column, 3, "reflect"), bank.analyze(column, 3, "constant")
    # One level only: deeper ones have more columns again, to which the two modes differ.
    torch.testing.assert_close(reflected[-1], constant[-1], rtol=0, atol=0)
    torch.testing.assert_close(bank.synthesize(reflected, 1), column, rtol=0, atol=1e-11)


@pytest.mark.parametrize("basis", BASES)
def test_synthesis_of_any_coefficients_is_that_of_pywavelets(basis: str) -> None:
    bank = FilterBank.named(basis)
    for width, level in itertools.product((1, 2, 5, 16, 33, 64, 171), LEVELS):
        widths = bank.coefficient_widths(width, level)
        coefficients = [torch.randn(3, part, dtype=torch.float64) for part in widths]
        expected = back_from_pywavelets(coefficients, basis)[:, :width]
        torch.testing.assert_close(bank.synthesize(coefficients, width), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_p1_haar_preserves_energy_at_every_width(level: int) -> None:
    bank = FilterBank.named("haar")
    for width in range(1, 65):
        matrix = torch.randn(2, width, dtype=torch.float64)
        energy = sum(part.square().sum() for part in bank.analyze(matrix, level, "zero"))
        torch.testing.assert_close(energy, matrix.square().sum(), rtol=1e-13, atol=0)


@pytest.mark.parametrize("basis", BASES)
def test_analysis_is_the_transpose_of_synthesis_under_zero_extension(basis: str) -> None:
    bank, width, level = FilterBank.named(basis), 27, 3
    matrix = torch.randn(1, width, dtype=torch.float64)
    parts = [torch.randn(1, part, dtype=torch.float64) for part in bank.coefficient_widths(width, level)]
    one = sum((a * b).sum() for a, b in zip(bank.analyze(matrix, level), parts, strict=True))
    # Widths of synthesis between the levels are cut, as the rows of analysis are continued by zeros.
    other = (matrix * bank.synthesize(parts, width)).sum()
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("level", [0, *LEVELS])
def test_haar_bank_is_the_closed_form(level: int) -> None:
    bank = FilterBank.named("haar")
    for width in range(1, 65):
        matrix = torch.randn(3, width, dtype=torch.float64)
        unit = 2.0 ** (-level / 2)
        sums = block_sums(matrix, level)
        approximation, *details = bank.analyze(matrix, level)
        torch.testing.assert_close(approximation, sums * unit, rtol=0, atol=1e-13)
        means = spread_blocks(sums, level, width) * unit**2
        nothing = [None] * len(details)
        torch.testing.assert_close(
            bank.synthesize([approximation, *nothing], width), means, rtol=0, atol=1e-13
        )
        if level:
            rough = bank.synthesize([None, *details], width)
            torch.testing.assert_close(rough, matrix - means, rtol=0, atol=1e-13)


@pytest.mark.parametrize("basis", BASES)
def test_none_stands_for_zeros(basis: str) -> None:
    bank, width, level = FilterBank.named(basis), 37, 3
    parts = [torch.randn(2, part, dtype=torch.float64) for part in bank.coefficient_widths(width, level)]
    for present in itertools.product((True, False), repeat=level + 1):
        if not any(present):
            continue
        given = [part if here else None for part, here in zip(parts, present, strict=True)]
        zeroed = [part if here else torch.zeros_like(part) for part, here in zip(parts, present, strict=True)]
        torch.testing.assert_close(
            bank.synthesize(given, width), bank.synthesize(zeroed, width), rtol=0, atol=1e-13
        )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("basis", ["haar", "db4"])
def test_spread_doubles_from_level_to_level(basis: str, level: int) -> None:
    bank = FilterBank.named(basis)
    for width in range(1, 34):
        details = bank.analyze(torch.randn(2, width), level)[1:]
        coarse = torch.randn_like(details[0])
        parts = bank.spread(coarse, details)
        assert parts[0] is coarse
        for step, (part, detail) in enumerate(zip(parts, details, strict=True)):
            expected = coarse.repeat_interleave(2**step, dim=1)[:, : detail.shape[1]]
            assert torch.equal(part, expected)


def test_spread_by_hand() -> None:
    bank = FilterBank.named("db2")
    details = bank.analyze(torch.randn(1, 9), 2)[1:]
    coarse = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert [part.tolist() for part in bank.spread(coarse, details)] == [
        [[1.0, 2.0, 3.0, 4.0]],
        [[1.0, 1.0, 2.0, 2.0, 3.0, 3.0]],
    ]


@pytest.mark.parametrize("basis", BASES)
def test_rows_are_independent_and_may_lie_apart(basis: str) -> None:
    bank = FilterBank.named(basis)
    storage = torch.randn(45, 12, dtype=torch.float64)
    apart = storage.t()[2:9, 3:]
    together = apart.contiguous()
    for mode in BOUNDARY_MODES:
        found = bank.analyze(apart, 2, mode)
        for part, expected in zip(found, bank.analyze(together, 2, mode), strict=True):
            assert torch.equal(part, expected)
        alone = bank.analyze(together[4:5], 2, mode)
        for part, expected in zip(alone, found, strict=True):
            torch.testing.assert_close(part, expected[4:5], rtol=0, atol=1e-14)
        scattered = [part.t().contiguous().t() for part in found]
        torch.testing.assert_close(bank.synthesize(scattered, 42), together, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("basis", "mode"), list(zip(BASES, BOUNDARY_MODES, strict=True)))
def test_arguments_are_left_alone(basis: str, mode: BoundaryMode) -> None:
    bank = FilterBank.named(basis)
    matrix = torch.randn(2, 11)
    before = matrix.clone()
    coefficients = bank.analyze(matrix, 2, mode)
    copies = [part.clone() for part in coefficients]
    again = bank.synthesize(coefficients, 11)
    again.zero_()
    for part in bank.spread(coefficients[0], coefficients[1:])[1:]:
        part.zero_()
    assert torch.equal(matrix, before)
    assert all(torch.equal(part, copy) for part, copy in zip(coefficients, copies, strict=True))


@pytest.mark.parametrize("basis", BASES)
def test_float32_does_not_follow_a_reduced_matmul_precision(basis: str) -> None:
    bank = FilterBank.named(basis)
    matrix = torch.randn(16, 2048)
    exact = bank.analyze(matrix.double(), 3)
    torch.set_float32_matmul_precision("medium")
    try:
        found = bank.analyze(matrix, 3)
        again = bank.synthesize(found, 2048)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert {part.dtype for part in [*found, again]} == {torch.float32}
    for part, expected in zip(found, exact, strict=True):
        assert (part - expected).abs().max() < 5e-6
    assert (again - matrix).abs().max() < 5e-6


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("basis", BASES)
def test_gpu_agrees_with_the_processor(basis: str, dtype: torch.dtype) -> None:
    bank, bound = FilterBank.named(basis), 5e-6 if dtype == torch.float32 else 1e-12
    matrix = torch.randn(8, 77, dtype=dtype)
    for mode in BOUNDARY_MODES:
        found = bank.analyze(matrix.cuda(), 3, mode)
        for part, expected in zip(found, bank.analyze(matrix, 3, mode), strict=True):
            torch.testing.assert_close(part.cpu(), expected, rtol=0, atol=bound)
        again = bank.synthesize(found, 77).cpu()
        torch.testing.assert_close(again, matrix, rtol=0, atol=max(bound, 1e-10))
        spread = bank.spread(found[0], found[1:])
        for part, expected in zip(spread, bank.spread(found[0].cpu(), found[1:]), strict=True):
            assert torch.equal(part.cpu(), expected)


@pytest.mark.parametrize(("basis", "mode"), list(zip(BASES, BOUNDARY_MODES, strict=True)))
def test_empty_matrices(basis: str, mode: BoundaryMode) -> None:
    bank = FilterBank.named(basis)
    assert bank.coefficient_widths(0, 2) == (0, 0, 0)
    for shape in ((0, 8), (3, 0), (0, 0)):
        coefficients = bank.analyze(torch.zeros(shape), 2, mode)
        assert tuple(part.shape[1] for part in coefficients) == bank.coefficient_widths(shape[1], 2)
        assert {part.shape[0] for part in coefficients} == {shape[0]}
        assert bank.synthesize(coefficients, shape[1]).shape == shape


def test_level_0_is_no_transform() -> None:
    bank, matrix = FilterBank.named("db2"), torch.randn(2, 5)
    assert bank.analyze(matrix, 0)[0] is matrix
    assert bank.coefficient_widths(5, 0) == (5,)
    assert torch.equal(bank.synthesize([matrix], 5), matrix)
    assert bank.spread(matrix, []) == []


def test_shapes_make_no_data() -> None:
    coefficients = FilterBank.named("db4").analyze(torch.empty(4, 5461, device="meta"), 2, "symmetric")
    assert tuple(part.shape[1] for part in coefficients) == (1370, 1370, 2734)


def test_banks_are_made_once() -> None:
    assert FilterBank.named("db3") is FilterBank.named("db3")
    assert FilterBank.named("haar").low == FilterBank.named("db1").low


def test_every_orthogonal_table_but_that_of_dmey_is_allowed() -> None:
    names = [name for name in pywt.wavelist(kind="discrete") if pywt.Wavelet(name).orthogonal]
    names.remove("dmey")
    assert names
    assert {FilterBank.named(name).name for name in names} == set(names)
    assert "dmey" not in str(refusal("dmei"))
    message = str(refusal("dmey"))
    families = {name.rstrip("0123456789") for name in names}
    for family in families - {"haar"}:
        numbers = [int(name.removeprefix(family)) for name in names if name.startswith(family)]
        assert f"{family}{min(numbers)} to {family}{max(numbers)}" in message
    assert "haar" in message


def refusal(basis: str) -> ValueError:
    with pytest.raises(ValueError, match="basis") as caught:
        FilterBank.named(basis)
    return caught.value


@pytest.mark.parametrize(
    ("basis", "words"),
    [
        ("db99", ["unknown basis 'db99'", "did you mean", "allowed: haar, db1 to db38"]),
        ("harr", ["unknown basis 'harr'", "did you mean haar?"]),
        ("zzzzzz", ["unknown basis 'zzzzzz'; allowed:"]),
        ("", ["unknown basis ''"]),
        ("bior2.2", ["basis 'bior2.2' is not an orthogonal", "allowed: haar"]),
        ("rbio1.3", ["basis 'rbio1.3' is not an orthogonal"]),
        ("morl", ["basis 'morl' is not an orthogonal"]),
        ("dmey", ["basis 'dmey' is orthogonal only to 2e-03", "allowed: haar"]),
    ],
)
def test_refused_bases(basis: str, words: list[str]) -> None:
    message = str(refusal(basis))
    for expected in words:
        assert expected in message


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import_anything = builtins.__import__

    def import_all_but_pywt(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pywt":
            raise ImportError("No module named 'pywt'")
        return import_anything(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", import_all_but_pywt)
    _orthogonal_bank.cache_clear()
    with pytest.raises(ImportError, match=r"basis 'db2' .*pip install PyWavelets"):
        FilterBank.named("db2")


def test_refused_requests() -> None:
    bank = FilterBank.named("db2")
    matrix = torch.zeros(2, 8)
    with pytest.raises(ValueError, match=r"mode must be one of zero, constant, .*, got 'periodization'"):
        bank.analyze(matrix, 1, "periodization")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level must be 0 or more, got -1"):
        bank.analyze(matrix, -1)
    with pytest.raises(ValueError, match="level must be 0 or more, got -2"):
        bank.coefficient_widths(8, -2)
    with pytest.raises(ValueError, match=r"\[rows, width\] in float32 or float64, got \[8\]"):
        bank.approximate(torch.zeros(8), 1)
    with pytest.raises(ValueError, match=r"got \[2, 8\] in torch.bfloat16"):
        bank.analyze(matrix.bfloat16(), 1)
    with pytest.raises(ValueError, match=r"the widths \(5, 5\) .*8 columns at level 1, got \(5, 4\)"):
        bank.synthesize([torch.zeros(2, 5), torch.zeros(2, 4)], 8)
    with pytest.raises(ValueError, match="must not all be None"):
        bank.synthesize([None, None], 8)
    with pytest.raises(ValueError, match=r"the shape of the coarsest details.*got \[2, 4\] for \[\[2, 5\]\]"):
        bank.spread(torch.zeros(2, 4), [torch.zeros(2, 5)])
    with pytest.raises(ValueError, match="at most twice as wide"):
        bank.spread(torch.zeros(2, 4), [torch.zeros(2, 4), torch.zeros(2, 9)])
