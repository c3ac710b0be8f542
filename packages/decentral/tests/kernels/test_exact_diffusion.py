"""A step of exact diffusion: the reference against the formula in float64, and the kernels against it.

The kernels run in triton's interpreter, in a process of its own: only there can the environment say so
before triton is imported. Run as a program, this file is that process: it writes what the kernels made of
every case.

Reached from here: ``kernels/full_precision.py``.
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

from graftwork_decentral.kernels import exact_diffusion, exact_diffusion_reference, workspace
from graftwork_decentral.kernels.exact_diffusion import exact_diffusion_after_step, exact_diffusion_step

FLOAT, DOUBLE, HALF, BRAIN = torch.float32, torch.float64, torch.float16, torch.bfloat16


def lazy_ring(agents: int) -> Tensor:
    """Return weights 1/3 on a ring, made lazy; they are not exact in any binary format."""
    ring = torch.zeros(agents, agents, dtype=DOUBLE)
    for agent in range(agents):
        for other in {(agent - 1) % agents, (agent + 1) % agents} - {agent}:
            ring[agent, other] = 1 / 6
    return ring + torch.diag(1 - ring.sum(1))


def random_mixing(agents: int) -> Tensor:
    """Return weights that are dense, and symmetric only by chance."""
    weights = torch.rand(agents, agents, dtype=DOUBLE, generator=torch.Generator().manual_seed(7)) / agents
    weights.fill_diagonal_(0.0)
    return weights + torch.diag(1 - weights.sum(1))


@dataclass(frozen=True)
class Case:
    """Stacked agents before one step.

    Args:
        gap: columns of NaN behind every row, which nothing may touch.
        tile: elements of a kernel's tile, and of an unrolled one.
    """

    agents: int = 10
    parameters: int = 37
    dtype: torch.dtype = FLOAT
    correction_dtype: torch.dtype = FLOAT
    gap: int = 0
    moves: bool = True
    tile: tuple[int, int] = (512, 256)

    def arrays(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return values, direction and correction, equal ones at every call."""
        generator = torch.Generator().manual_seed(0)
        arrays = []
        for dtype in (self.dtype, self.dtype, self.correction_dtype):
            whole = torch.full((self.agents, self.parameters + self.gap), math.nan, dtype=dtype)
            numbers = torch.randn(self.agents, self.parameters, dtype=DOUBLE, generator=generator)
            whole[:, : self.parameters].copy_(numbers)
            arrays.append(whole[:, : self.parameters])
        return arrays[0], arrays[1], arrays[2]

    def run(self, implementation: Any) -> tuple[Tensor, Tensor]:
        """Return what an implementation makes of values and correction."""
        values, direction, correction = self.arrays()
        step_size = torch.tensor(0.3, dtype=DOUBLE)
        move = (direction, correction, step_size) if self.moves else (None, correction, None)
        implementation.exact_diffusion(values, *move, random_mixing(self.agents))
        return values, correction

    def naive(self) -> tuple[Tensor, Tensor]:
        """Return the same in float64, by the formula of three lines."""
        values, direction, correction = (array.double() for array in self.arrays())
        local = (values - 0.3 * direction if self.moves else values) - correction
        mixed = random_mixing(self.agents) @ local
        return mixed, correction + (local - mixed)


def kernel_cases() -> list[Case]:
    cases = [
        Case(agents, dtype=dtype, moves=moves, gap=gap)
        for agents, moves in itertools.product((1, 3, 8, 10, 16, 33), (True, False))
        for dtype, gap in ((FLOAT, 0), (FLOAT, 3), (BRAIN, 5))
    ]
    cases += [Case(agents, 1) for agents in (2, 9)]
    cases += [Case(agents, 96, dtype=dtype, gap=16) for agents in (4, 64) for dtype in (FLOAT, HALF)]
    cases += [
        Case(agents, 21, tile=(2048, 256), moves=moves) for agents in (65, 130) for moves in (True, False)
    ]
    return cases


def gap_of(tensor: Tensor, gap: int) -> Tensor:
    rows, columns = tensor.shape
    return tensor.as_strided((rows, columns + gap), (columns + gap, 1))[:, columns:]


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, tuple[Tensor, Tensor]]:
    pytest.importorskip("triton")
    path = tmp_path_factory.mktemp("interpreted") / "outcomes.pt"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, __file__, str(path)], env=environment, check=True)
    return dict(zip(kernel_cases(), torch.load(path), strict=True))


@pytest.mark.parametrize("case", kernel_cases(), ids=str)
def test_kernels_agree_with_the_reference(case: Case, interpreted: dict[Case, tuple[Tensor, Tensor]]) -> None:
    values, correction = interpreted[case]
    expected_values, expected_correction = case.run(exact_diffusion_reference)
    # The interpreter cuts off what a device rounds.
    tolerance = {FLOAT: 2e-6, HALF: 2e-3, BRAIN: 2e-2}[case.dtype]
    torch.testing.assert_close(values, expected_values, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(correction, expected_correction, rtol=2e-6, atol=2e-6)
    if case.agents > 1 or case.moves:
        assert not torch.equal(values, case.arrays()[0])
    if case.gap:
        assert gap_of(values, case.gap).isnan().all()
        assert gap_of(correction, case.gap).isnan().all()


@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("agents", [1, 3, 10, 16, 33])
def test_the_reference_is_the_naive_formula(agents: int, gap: int, moves: bool) -> None:
    for dtype, tolerance in ((DOUBLE, 1e-14), (FLOAT, 2e-6)):
        case = Case(agents, dtype=dtype, correction_dtype=dtype, gap=gap, moves=moves)
        for ours, theirs in zip(case.run(exact_diffusion_reference), case.naive(), strict=True):
            torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance)
            assert gap_of(ours, gap).isnan().all()


def test_blocks_of_columns_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(10, 1000, gap=1)
    whole = case.run(exact_diffusion_reference)
    monkeypatch.setattr(workspace, "_CPU_ELEMENTS", 640)
    for one, other in zip(case.run(exact_diffusion_reference), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [BRAIN, HALF], ids=str)
@pytest.mark.parametrize("correction_dtype", [FLOAT, DOUBLE], ids=str)
def test_half_precision_is_rounded_once(dtype: torch.dtype, correction_dtype: torch.dtype) -> None:
    """And so lies within half a step of the exact result; the correction does not feel it."""
    case = Case(12, 500, dtype=dtype, correction_dtype=correction_dtype)
    values, correction = case.run(exact_diffusion_reference)
    expected_values, expected_correction = case.naive()
    error = (values.double() - expected_values).abs()
    half_step = torch.finfo(dtype).eps / 2
    assert bool((error <= half_step * expected_values.abs() * (1 + 1e-3) + 2e-6).all())
    torch.testing.assert_close(correction.double(), expected_correction, rtol=2e-6, atol=2e-6)


def quadratic(agents: int, parameters: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return curvatures and optima of the agents' parabolas, and the optimum of their sum."""
    generator = torch.Generator().manual_seed(3)
    curvature = 1 + torch.rand(agents, parameters, dtype=DOUBLE, generator=generator)
    optimum = torch.randn(agents, parameters, dtype=DOUBLE, generator=generator) + 1
    total = (curvature * optimum).sum(0) / curvature.sum(0)
    return curvature.to(dtype), optimum.to(dtype), total


def test_mean_of_the_correction_does_not_drift_in_float32() -> None:
    """20,000 steps on a ring whose weights float32 cannot hold; every agent ends at the common optimum."""
    curvature, optimum, total = quadratic(10, 5, FLOAT)
    values, correction, ring = torch.zeros(10, 5), torch.zeros(10, 5), lazy_ring(10)
    for _ in range(20_000):
        # Past the registration, whose checks are most of the time at this size.
        gradient = curvature * (values - optimum)
        exact_diffusion_reference.exact_diffusion(values, gradient, correction, torch.tensor(0.05), ring)
    assert float(correction.double().mean(0).abs().max()) <= 1e-6
    assert float((values.double() - total).square().sum()) <= 1e-8


def test_the_product_of_whole_values_does_drift() -> None:
    """Which is why the operation mixes by differences: this is the formula as written, in float32."""
    curvature, optimum, total = quadratic(10, 5, FLOAT)
    values, correction, ring = torch.zeros(10, 5), torch.zeros(10, 5), lazy_ring(10).float()
    for _ in range(4_000):
        local = values - 0.05 * curvature * (values - optimum) - correction
        values = ring @ local
        correction += local - values
    assert float(correction.double().mean(0).abs().max()) > 1e-6
    assert float((values.double() - total).square().sum()) > 1e-6


def test_rounding_to_bfloat16_does_not_reach_the_correction() -> None:
    """The mean correction stays that of float32, and the agents near the optimum."""
    curvature, optimum, total = quadratic(10, 5, FLOAT)
    values, correction = torch.zeros(10, 5, dtype=BRAIN), torch.zeros(10, 5)
    for _ in range(2_000):
        gradient = (curvature * (values.float() - optimum)).bfloat16()
        exact_diffusion_reference.exact_diffusion(
            values, gradient, correction, torch.tensor(0.05), lazy_ring(10)
        )
    assert float(correction.double().mean(0).abs().max()) <= 1e-5
    assert float((values.double() - total).square().sum()) <= 5e-2


def test_exact_diffusion_is_the_two_step_recursion() -> None:
    """x+ = W (2 x - x_prev - a g + a g_prev), in float64 on random quadratics."""
    curvature, optimum, _ = quadratic(8, 6, DOUBLE)
    ring, step_size = lazy_ring(8), 0.1
    values, correction = torch.ones(8, 6, dtype=DOUBLE), torch.zeros(8, 6, dtype=DOUBLE)
    previous, previous_gradient = None, torch.zeros(())
    for _ in range(50):
        gradient = curvature * (values - optimum)
        if previous is None:
            expected = ring @ (values - step_size * gradient)
        else:
            expected = ring @ (2 * values - previous - step_size * (gradient - previous_gradient))
        previous, previous_gradient = values.clone(), gradient
        exact_diffusion_step(values, gradient, correction, step_size, ring)
        torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)


def test_both_entry_points_make_the_same_step() -> None:
    values, direction, correction = Case(agents=16).arrays()
    moved, other = values - 0.25 * direction, correction.clone()
    exact_diffusion_step(values, direction, correction, torch.tensor([0.25]), lazy_ring(16))
    exact_diffusion_after_step(moved, other, lazy_ring(16))
    torch.testing.assert_close(moved, values, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(other, correction, rtol=1e-6, atol=1e-6)


def test_tf32_and_autocast_do_not_reach_the_product() -> None:
    expected, _ = Case(agents=33).run(exact_diffusion_reference)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found, _ = Case(agents=33).run(exact_diffusion_reference)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found, expected)


def test_torch_knows_what_the_operation_writes() -> None:
    operation = torch.ops.graftwork_decentral.exact_diffusion.default
    values, direction, correction = Case().arrays()
    for way, rate in ((direction, torch.tensor(0.1)), (None, None)):
        arguments = (values, way, correction, rate, lazy_ring(10))
        found = torch.library.opcheck(operation, arguments, raise_exception=False)
        assert set(found.values()) == {"SUCCESS"}, found


def test_export_keeps_one_operation() -> None:
    class Step(torch.nn.Module):
        def forward(self, values: Tensor, correction: Tensor, mixing_matrix: Tensor) -> Tensor:
            exact_diffusion_after_step(values, correction, mixing_matrix)
            return values.sum()

    values, _, correction = Case().arrays()
    graph = torch.export.export(Step(), (values, correction, lazy_ring(10))).graph
    assert sum("exact_diffusion" in str(node.target) for node in graph.nodes) == 1


def test_nothing_to_do() -> None:
    for shape in ((0, 4), (4, 0)):
        # Parts of larger matrices, of which nothing may be touched.
        wholes = [torch.full((4, 4), math.nan) for _ in range(3)]
        parts = [whole[: shape[0], : shape[1]] for whole in wholes]
        exact_diffusion_step(*parts, 1.0, torch.eye(shape[0]))
        assert all(bool(whole.isnan().all()) for whole in wholes)


def test_which_implementation_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = pytest.importorskip("graftwork_decentral.kernels.exact_diffusion_triton")

    def chosen(dtype: torch.dtype, correction_dtype: torch.dtype = FLOAT, agents: int = 64) -> Any:
        values: Any = SimpleNamespace(is_cuda=True, dtype=dtype, shape=(agents, 5))
        correction: Any = SimpleNamespace(dtype=correction_dtype)
        return exact_diffusion._implementation(values, correction)

    assert [chosen(dtype) for dtype in (FLOAT, BRAIN, HALF)] == [kernels] * 3
    assert chosen(DOUBLE, DOUBLE) is exact_diffusion_reference
    assert chosen(FLOAT, DOUBLE) is exact_diffusion_reference
    assert chosen(FLOAT, agents=257) is exact_diffusion_reference
    monkeypatch.setattr(exact_diffusion, "_has_triton", lambda: False)
    assert chosen(FLOAT) is exact_diffusion_reference


GOOD: dict[str, Any] = {
    **{"values": torch.zeros(4, 3), "direction": torch.zeros(4, 3), "correction": torch.zeros(4, 3)},
    **{"step_size": 0.1, "mixing_matrix": torch.eye(4)},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": torch.zeros(4)}, "floating matrix \\[agents, parameters\\], got shape \\(4,\\)"),
        ({"values": torch.zeros(4, 3, dtype=torch.int8)}, "floating matrix .* torch.int8"),
        ({"values": torch.zeros(4, 3, dtype=DOUBLE)}, "no narrower than the values' torch.float64"),
        ({"values": torch.zeros(3, 4).T}, "values must have contiguous rows, got strides \\(1, 4\\)"),
        ({"correction": torch.zeros(4, 3, dtype=BRAIN)}, "correction must be float32 or float64"),
        ({"correction": torch.zeros(4, 2)}, "correction must have shape \\(4, 3\\) on cpu, got \\(4, 2\\)"),
        ({"correction": torch.zeros(4, 3, device="meta")}, "correction must .* got \\(4, 3\\) on meta"),
        ({"direction": torch.zeros(4, 3, dtype=BRAIN)}, "direction must have the values' shape"),
        ({"direction": torch.zeros(3, 4).T}, "direction must have contiguous rows"),
        ({"step_size": torch.zeros(2)}, "step_size must be a number or a tensor of one on cpu"),
        ({"mixing_matrix": torch.eye(3)}, "mixing_matrix must be \\(4, 4\\) of float32 or float64"),
        ({"mixing_matrix": torch.eye(4, dtype=BRAIN)}, "mixing_matrix must be .* of torch.bfloat16"),
        ({"mixing_matrix": torch.eye(4, device="meta")}, "mixing_matrix must be on .* cpu, got meta"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    exact_diffusion_step(**GOOD)
    with pytest.raises(ValueError, match=message):
        exact_diffusion_step(**{**GOOD, **changes})


def interpret_all(path: Path) -> None:
    """Run every case through the kernels."""
    from graftwork_decentral.kernels import exact_diffusion_triton as kernels

    torch.set_num_threads(1)
    results = []
    for case in kernel_cases():
        kernels._TILE_ELEMENTS, kernels._UNROLLED_ELEMENTS = case.tile
        results.append(case.run(kernels))
    torch.save(results, path)


if __name__ == "__main__":
    interpret_all(Path(sys.argv[1]))
