"""The fused step: its reference against the formula number by number and against the optimizer, and its
kernels against the reference.

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
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from graftwork_optim_core import GWTAdamW
from graftwork_optim_core.kernels import haar_adamw, haar_adamw_reference
from graftwork_optim_core.kernels.haar_adamw import finite_extent, haar_adamw_correct, haar_adamw_step

BETAS = {"beta1": 0.9, "beta2": 0.999}
FLOAT, DOUBLE, HALF, BRAIN = torch.float32, torch.float64, torch.float16, torch.bfloat16


@dataclass(frozen=True)
class Case:
    """One weight before one step.

    Args:
        gap: columns of NaN behind every row, which nothing may touch.
        gradient_gap: likewise, behind the gradient's rows alone.
        poison: the gradient's last number, where it is not 0.
    """

    rows: int = 5
    width: int = 37
    level: int = 2
    guard: bool = True
    weight: torch.dtype = DOUBLE
    gradient: torch.dtype = DOUBLE
    state: torch.dtype = DOUBLE
    gap: int = 0
    gradient_gap: int = 0
    maximize: bool = False
    gate: float = 1.0
    excess: float = 0.3
    poison: float = 0.0
    tile_bytes: int = 512

    @property
    def options(self) -> dict[str, Any]:
        return {"level": self.level, "guard": self.guard, "eps": 1e-6, "maximize": self.maximize}

    @property
    def arithmetic(self) -> torch.dtype:
        return DOUBLE if self.weight == DOUBLE else FLOAT

    def matrices(self) -> list[Tensor]:
        """Return values, gradient and both averages, equal ones at every call."""
        generator = torch.Generator().manual_seed(0)
        blocks = -(-self.width // 2**self.level)

        def matrix(width: int, dtype: torch.dtype, gap: int = self.gap) -> Tensor:
            whole = torch.full((self.rows, width + gap), math.nan, dtype=dtype)
            view = whole[:, :width]
            view.copy_(torch.randn(self.rows, width, dtype=DOUBLE, generator=generator))
            return view

        values = matrix(self.width, self.weight)
        # Away from zero, where a step in bfloat16 is as small as the differences that are no matter.
        values.add_(values.sign() * 0.5)
        gradient, mean, mean_square = (
            matrix(self.width, self.gradient, self.gap + self.gradient_gap),
            matrix(blocks, self.state),
            matrix(blocks, self.state),
        )
        if self.poison:
            gradient[-1, -1] = self.poison
        mean.mul_(0.1)
        # Nor near zero, where the published rule blows up what the interpreter cuts off a state in bfloat16.
        mean_square.square_().add_(1).mul_(0.1)
        return [values, gradient, mean, mean_square]

    def factors(self) -> Tensor:
        return torch.tensor([2.0, 0.7, 0.02, 0.99, self.gate], dtype=self.arithmetic)


def outcomes(implementation: Any, case: Case) -> dict[str, Tensor]:
    """Return all that an implementation makes of a case; storages whole, with their gaps."""
    values, gradient, mean, mean_square = stepped = case.matrices()
    norm = implementation.haar_adamw_step(*stepped, case.factors(), **BETAS, **case.options)
    corrected = case.matrices()
    excess = torch.tensor(case.excess, dtype=case.arithmetic)
    implementation.haar_adamw_correct(*corrected, case.factors(), excess, **case.options)
    extent = implementation.finite_extent(gradient, case.level)
    results = {"values": values, "mean": mean, "mean_square": mean_square, "corrected": corrected[0]}
    whole = {
        name: result.as_strided((result.untyped_storage().nbytes() // result.itemsize,), (1,))
        for name, result in results.items()
    }
    return {**whole, "norm": norm, "extent": extent}


def kernel_cases() -> list[Case]:
    cases = []
    single, double = (FLOAT, FLOAT, FLOAT), (DOUBLE, DOUBLE, DOUBLE)
    for place, (level, guard) in enumerate(itertools.product((0, 1, 2, 3, 5), (True, False))):
        layouts = [
            Case(3, 64, level, guard, *double, maximize=not guard),
            Case(3, 64, level, guard, *single, gradient_gap=8),
            Case(70, 5, level, guard, *single),
            Case(6, 64, level, guard, FLOAT, HALF, FLOAT, tile_bytes=8192),
            Case(3, 96, level, guard, BRAIN, BRAIN, BRAIN),
            Case(3, 45, level, guard, BRAIN, BRAIN, FLOAT, gap=1, maximize=guard),
        ]
        # Every level with and without the guard; of the layouts two each, in turn.
        cases += [Case(5, 37, level, guard, *double, gap=3), layouts[place % 6], layouts[(place + 3) % 6]]
    shut = [
        Case(gate=0.0, poison=math.inf),
        Case(gate=0.0, poison=math.nan, guard=False),
        Case(3, 64, weight=BRAIN, gradient=BRAIN, state=FLOAT, gate=0.0),
    ]
    return [*cases, *shut, Case(excess=0.0), Case(0, 8), Case(3, 1, 3), Case(1, 7, 6, tile_bytes=8192)]


def assert_within_one_step(one: Tensor, two: Tensor) -> None:
    """Compare bfloat16 numbers by their place among all bfloat16 numbers."""
    places = [
        torch.where(bits < 0, -(bits & 0x7FFF), bits)
        for bits in (tensor.view(torch.int16).int() for tensor in (one, two))
    ]
    both_nan = one.isnan() & two.isnan()
    assert (((places[0] - places[1]).abs() <= 1) | both_nan).all()


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, dict[str, Tensor]]:
    pytest.importorskip("triton")
    path = tmp_path_factory.mktemp("interpreted") / "outcomes.pt"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, __file__, str(path)], env=environment, check=True)
    return dict(zip(kernel_cases(), torch.load(path), strict=True))


@pytest.mark.parametrize("case", kernel_cases(), ids=str)
def test_kernels_agree_with_the_reference(case: Case, interpreted: dict[Case, dict[str, Tensor]]) -> None:
    ours, expected = interpreted[case], outcomes(haar_adamw_reference, case)
    tolerance = 1e-12 if case.arithmetic == DOUBLE else 3e-6
    for name, result in ours.items():
        assert result.dtype == expected[name].dtype
        if result.dtype == BRAIN:
            # The interpreter cuts off what a device rounds.
            assert_within_one_step(result, expected[name])
        else:
            torch.testing.assert_close(
                result, expected[name], rtol=tolerance, atol=tolerance, equal_nan=True, msg=name
            )


def test_h5_kernels_write_nothing_at_a_shut_gate(interpreted: dict[Case, dict[str, Tensor]]) -> None:
    shut = [case for case in interpreted if case.gate == 0]
    assert shut
    for case in shut:
        values, _, mean, mean_square = case.matrices()
        result = interpreted[case]
        assert torch.equal(result["values"], values.flatten())
        assert torch.equal(result["corrected"], values.flatten())
        assert torch.equal(result["mean"], mean.flatten())
        assert torch.equal(result["mean_square"], mean_square.flatten())
        assert result["norm"] == 0


def number_by_number(case: Case, excess: float = 0.0) -> tuple[list[list[float]], float]:
    """Return the weight after one step with ``q = 1 / (1 - excess)``, and the direction's squared norm."""
    values, gradient, mean, mean_square = (matrix.tolist() for matrix in case.matrices())
    mean_correction, root_correction, rate, kept, _ = case.factors().tolist()
    unit, norm = 2 ** (-case.level / 2), 0.0
    for row, column in itertools.product(range(case.rows), range(case.width)):
        block = column >> case.level
        columns = range(block << case.level, min(case.width, (block + 1) << case.level))
        sign = -1.0 if case.maximize else 1.0
        coarse = unit * math.fsum(sign * gradient[row][other] for other in columns)
        running_mean = 0.9 * mean[row][block] + 0.1 * coarse
        root = math.sqrt(0.999 * mean_square[row][block] + 0.001 * coarse**2) + 1e-6
        if column == columns[0]:
            norm += (running_mean / root) ** 2
        own = sign * gradient[row][column]
        if case.guard:
            detail = root_correction * (own - unit * coarse) / root
            update = max(-3.0, min(3.0, detail))
            update += mean_correction * root_correction * unit * running_mean / root
        else:
            update = mean_correction * root_correction * (own + unit * (running_mean - coarse)) / root
        values[row][column] = (values[row][column] - rate * (1 - excess) * update) * kept
    return values, norm


@pytest.mark.parametrize(("guard", "maximize"), [(True, False), (True, True), (False, True)])
@pytest.mark.parametrize(("level", "width"), [(0, 13), (1, 1), (1, 16), (2, 13), (3, 16), (6, 13)])
def test_section_4_reference_is_the_formula(width: int, level: int, guard: bool, maximize: bool) -> None:
    case = Case(3, width, level, guard, maximize=maximize, gap=2)
    matrices = case.matrices()
    squared = haar_adamw_step(*matrices, case.factors(), **BETAS, **case.options)
    expected, norm = number_by_number(case)
    torch.testing.assert_close(matrices[0], torch.tensor(expected, dtype=DOUBLE), rtol=1e-12, atol=1e-12)
    assert math.isclose(squared, norm, rel_tol=1e-12)
    excess = torch.tensor(0.375, dtype=DOUBLE)
    haar_adamw_correct(*matrices, case.factors(), excess, **case.options)
    expected, _ = number_by_number(case, 0.375)
    torch.testing.assert_close(matrices[0], torch.tensor(expected, dtype=DOUBLE), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [FLOAT, BRAIN])
@pytest.mark.parametrize(("state", "guard"), [("float32", "auto"), ("float32", "off"), ("bfloat16", "auto")])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_section_3_five_steps_are_those_of_the_optimizer(
    level: int, guard: str, state: str, dtype: torch.dtype
) -> None:
    """A steady gradient makes the direction grow, so that the limiter asks for corrections."""
    torch.manual_seed(1)
    weight, steady = torch.randn(6, 37).to(dtype), torch.randn(6, 37)
    parameter = torch.nn.Parameter(weight.clone())
    options: dict[str, Any] = {"level": level, "detail_guard": guard, "state_dtype": state}
    # foreach=False keeps fused kernels away.
    optimizer = GWTAdamW([parameter], lr=1e-2, scale=0.25, weight_decay=0.1, foreach=False, **options)
    blocks = -(-37 // 2**level)
    mean, mean_square = (torch.zeros(6, blocks, dtype=getattr(torch, state)) for _ in range(2))
    options = {"level": level, "guard": guard == "auto", "eps": 1e-6, "maximize": False}
    previous, corrections = 0.0, 0
    for step in range(1, 6):
        gradient = (steady + 0.3 * torch.randn(6, 37)).to(dtype)
        parameter.grad = gradient.clone()
        optimizer.step()
        corrected = [1 / (1 - 0.9**step), math.sqrt(1 - 0.999**step)]
        factors = torch.tensor([*corrected, 1e-2 * 0.25, 1 - 1e-2 * 0.1, 1.0])
        matrices = (weight, gradient, mean, mean_square, factors)
        norm = math.sqrt(haar_adamw_step(*matrices, **BETAS, **options))
        divisor = max(norm / (previous + 1e-8), 1.01) / 1.01 if previous else 1.0
        previous = norm / divisor
        corrections += divisor > 1
        haar_adamw_correct(*matrices, torch.tensor(1 - 1 / divisor), **options)
        kept_mean = optimizer.state[parameter]["exp_avg"]
        if state == "bfloat16":
            assert_within_one_step(mean, kept_mean)
        else:
            torch.testing.assert_close(mean, kept_mean, rtol=1e-5, atol=1e-7)
        # Every step may leave one number of bfloat16 between the two: a correction rounds a second time, and
        # the optimizer may take a direction from averages that are not rounded yet.
        tolerance = 2**-7 * step if dtype == BRAIN else 2e-5 if state == "float32" else 2e-3
        torch.testing.assert_close(weight, parameter.detach(), rtol=tolerance, atol=tolerance / 4)
    assert corrections == 4


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1.0])
def test_h5_a_shut_gate_writes_nothing(poison: float) -> None:
    case = Case(gate=0.0, poison=poison)
    matrices, before = case.matrices(), case.matrices()
    excess = torch.tensor(0.5, dtype=DOUBLE)
    assert haar_adamw_step(*matrices, case.factors(), **BETAS, **case.options) == 0
    haar_adamw_correct(*matrices, case.factors(), excess, **case.options)
    for written in (0, 2, 3):
        assert torch.equal(matrices[written], before[written])


def test_an_excess_of_zero_corrects_nothing() -> None:
    case = Case()
    matrices, before = case.matrices(), case.matrices()
    matrices[1].fill_(math.nan)
    haar_adamw_correct(*matrices, case.factors(), torch.zeros((), dtype=DOUBLE), **case.options)
    assert torch.equal(matrices[0], before[0])


def test_the_extent_is_finite_exactly_for_a_finite_gradient() -> None:
    gradient = torch.randn(4, 13)
    assert finite_extent(gradient, 2).isfinite()
    assert finite_extent(gradient * 1e16, 2).isfinite()
    assert not finite_extent(gradient * 1e20, 2).isfinite()
    for row, column, poison in itertools.product((0, 3), (0, 7, 12), (math.nan, math.inf, -math.inf)):
        poisoned = gradient.clone()
        poisoned[row, column] = poison
        assert not finite_extent(poisoned, 2).isfinite()
    cancelling = gradient.clone()
    cancelling[0, 0], cancelling[0, 1] = math.inf, -math.inf
    assert not finite_extent(cancelling, 2).isfinite()


def test_levels_too_deep_for_a_tile_run_the_reference() -> None:
    triton_kernels = pytest.importorskip("graftwork_optim_core.kernels.haar_adamw_triton")
    on_device = cast(Tensor, SimpleNamespace(is_cuda=True))
    assert haar_adamw._implementation(on_device, 10) is triton_kernels
    assert haar_adamw._implementation(on_device, 11) is haar_adamw_reference
    assert haar_adamw._implementation(torch.zeros(1), 2) is haar_adamw_reference


def test_without_triton_a_device_runs_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haar_adamw, "_has_triton", lambda: False)
    assert haar_adamw._implementation(cast(Tensor, SimpleNamespace(is_cuda=True)), 2) is haar_adamw_reference


def test_torch_knows_what_the_operations_write() -> None:
    case = Case(2, 6, 1, weight=FLOAT, gradient=FLOAT, state=FLOAT)
    options = tuple(case.options.values())
    level, guard, eps, maximize = options
    step = (*case.matrices(), case.factors(), level, guard, 0.9, 0.999, eps, maximize)
    operations = torch.ops.graftwork_optim_core
    correct = (*case.matrices(), case.factors(), torch.tensor(0.5), level, guard, eps, maximize)
    for operation, arguments in (
        (operations.haar_adamw_step, step),
        (operations.haar_adamw_correct, correct),
        (operations.haar_adamw_finite_extent, (case.matrices()[1], level)),
    ):
        found = torch.library.opcheck(operation.default, arguments, raise_exception=False)
        assert set(found.values()) == {"SUCCESS"}, found


def test_what_does_not_fit_is_refused() -> None:
    case = Case()
    values, gradient, mean, mean_square = case.matrices()
    factors = case.factors()

    def step(*matrices: Tensor, **changed: Any) -> None:
        haar_adamw_step(*matrices, **BETAS, **{**case.options, **changed})

    with pytest.raises(ValueError, match=r"gradient must have the shape of values \(5, 37\)"):
        step(values, gradient[:, :36], mean, mean_square, factors)
    with pytest.raises(ValueError, match=r"mean must have shape \(5, 5\) at level 3, got \(5, 10\)"):
        step(values, gradient, mean, mean_square, factors, level=3)
    with pytest.raises(ValueError, match=r"factors must be 5 numbers in torch.float64"):
        step(values, gradient, mean, mean_square, factors.float())
    with pytest.raises(ValueError, match="values must be a matrix with contiguous rows"):
        step(torch.zeros(37, 5, dtype=DOUBLE).T, gradient, mean, mean_square, factors)
    with pytest.raises(ValueError, match="gradient must be a matrix"):
        finite_extent(torch.zeros(3), 1)
    with pytest.raises(ValueError, match="excess must hold one number"):
        haar_adamw_correct(values, gradient, mean, mean_square, factors, torch.zeros(2), **case.options)


def interpret_all(path: Path) -> None:
    """Write what the kernels make of every case."""
    from graftwork_optim_core.kernels import haar_adamw_triton

    torch.set_num_threads(1)
    # Memory that nobody has written then holds NaN.
    torch.use_deterministic_algorithms(True)
    # So few that each makes several tiles.
    haar_adamw_triton._MOST_CORRECTING_PROGRAMS = 2
    results = []
    for case in kernel_cases():
        haar_adamw_triton._TILE_BYTES = case.tile_bytes
        results.append(outcomes(haar_adamw_triton, case))
    torch.save(results, path)


if __name__ == "__main__":
    interpret_all(Path(sys.argv[1]))
