"""The numbers of the method: worked examples, the estimate on average, and what it does not depend on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graftwork_optim_core.lozo import LOZO, LOZOM
from graftwork_optim_core.mezo import MeZO
from graftwork_optim_core.zeroth_order import sites
from graftwork_optim_core.zeroth_order.pool import Pool
from graftwork_optim_core.zeroth_order.ranks import Ranks

GRADIENT = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
BACKENDS = ("inplace", "sidepath", "dual")
Losses = Callable[[], Tensor]


@pytest.fixture
def no_matrix_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "NARROW", 0)


@pytest.fixture
def slopes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The c of every probe, in the order in which they come."""
    seen: list[float] = []
    exchange = Ranks.exchange

    def spied(self: Ranks, found: Tensor) -> Tensor:
        seen.extend(found.tolist())
        return exchange(self, found)

    monkeypatch.setattr(Ranks, "exchange", spied)
    return seen


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[list[float]], list[list[float]]], None]:
    """Let U of every step and V of every interval be given ones."""

    def give(lefts: list[list[float]], rights: list[list[float]]) -> None:
        def draw(self: Pool, seed: int, step: int, probe: int) -> None:
            self.view(self.direction, 0).copy_(torch.tensor(lefts[step]).unsqueeze(1))

        def draw_rights(self: Pool, seed: int, interval: int) -> list[Tensor]:
            return [torch.tensor(rights[interval], dtype=self.dtype).unsqueeze(1)]

        monkeypatch.setattr(Pool, "draw", draw)
        monkeypatch.setattr(Pool, "rights", draw_rights)

    return give


def linear_loss(layer: nn.Linear, gradient: Tensor = GRADIENT) -> Losses:
    """``<G, W>`` as the trace of a product, so that W has a side path."""
    return lambda: layer(gradient).diagonal().sum()


def blank(rows: int = 2, columns: int = 3) -> nn.Linear:
    layer = nn.Linear(columns, rows, bias=False, dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    return layer


@pytest.mark.usefixtures("no_matrix_is_narrow")
@pytest.mark.parametrize("backend", BACKENDS)
def test_1_a_linear_loss_with_given_factors(given: Any, slopes: list[float], backend: Any) -> None:
    given([[1.0, -1.0]], [[1.0, 0.0, 2.0]])
    layer = blank()
    optimizer = LOZO(layer.named_parameters(), lr=0.1, rank=1, backend=backend)
    optimizer.attach(layer)
    optimizer.step(linear_loss(layer))
    optimizer.merge()
    assert slopes == pytest.approx([-9.0], abs=1e-10)
    expected = torch.tensor([[0.9, 0.0, 1.8], [-0.9, 0.0, -1.8]], dtype=torch.float64)
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("no_matrix_is_narrow")
@pytest.mark.parametrize("backend", BACKENDS)
def test_2_momentum_carried_into_a_new_subspace(given: Any, slopes: list[float], backend: Any) -> None:
    given([[1.0, -1.0], [2.0, 1.0]], [[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
    layer = blank()
    optimizer = LOZOM(layer.named_parameters(), lr=0.1, rank=1, momentum=0.5, interval=1, backend=backend)
    optimizer.attach(layer)
    loss, momentum = linear_loss(layer), optimizer.state[layer.weight]["momentum"]
    optimizer.step(loss)
    assert momentum.flatten().tolist() == pytest.approx([-9.0, 9.0])
    carried = []

    def look() -> Tensor:
        carried.append(momentum.flatten().tolist())
        return loss()

    optimizer.step(look)
    assert carried[-1] == pytest.approx([-6.0, 6.0])
    assert slopes == pytest.approx([-9.0, 21.0])
    assert momentum.flatten().tolist() == pytest.approx([18.0, 13.5])
    optimizer.merge()
    expected = torch.tensor([[0.9, -1.8, 0.0], [-0.9, -1.35, -3.15]], dtype=torch.float64)
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=0, atol=1e-9)


def estimates(rank: int, count: int, interval: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``c U V^T / r`` of a linear loss for many steps, its gradient, and the last V."""
    gradient = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(rank))
    layer = blank(5, 4)
    optimizer = LOZO(layer.named_parameters(), lr=1.0, rank=rank, interval=interval, backend="inplace")
    found = []
    for _ in range(count):
        nn.init.zeros_(layer.weight)
        optimizer.step(lambda: (gradient * layer.weight).sum())
        found.append(-layer.weight.detach().clone())
    return torch.stack(found), gradient, optimizer.state[layer.weight]["right"]


@pytest.mark.usefixtures("no_matrix_is_narrow")
@pytest.mark.parametrize(("rank", "ratio", "draws"), [(1, 42, 600), (4, 27, 1200)])
def test_3_the_estimate_is_unbiased_and_its_second_moment_is_known(rank: int, ratio: int, draws: int) -> None:
    found, gradient, _ = estimates(rank, draws, 1)
    error = (found.mean(0) - gradient).abs() / (found.std(0) / len(found) ** 0.5)
    assert error.max() < 4
    moments = found.square().sum((1, 2)) / gradient.square().sum()
    assert (moments.mean() - ratio).abs() < 4 * moments.std() / len(found) ** 0.5
    assert moments.mean() == pytest.approx(ratio, rel=0.2)


@pytest.mark.usefixtures("no_matrix_is_narrow")
@pytest.mark.parametrize("rank", [1, 2])
def test_4_with_v_fixed_the_estimate_is_a_projection_on_average(rank: int) -> None:
    found, gradient, right = estimates(rank, 700, 700)
    expected = gradient @ right @ right.T / rank
    error = (found.mean(0) - expected).abs() / (found.std(0) / len(found) ** 0.5)
    assert error.max() < 4
    assert (found.mean(0) - gradient).norm() > 0.2 * gradient.norm()


@pytest.mark.parametrize("interval", [1, 2, 50])
@pytest.mark.parametrize("backend", BACKENDS)
def test_5_the_direction_applied_is_the_one_probed(backend: Any, interval: int) -> None:
    layer = nn.Linear(12, 10, dtype=torch.float64)
    optimizer = LOZO(layer.named_parameters(), lr=1e-2, interval=interval, backend=backend)
    optimizer.attach(layer)
    ends: list[Tensor] = []
    identity = torch.cat([torch.eye(12), torch.zeros(1, 12)]).double()

    def look() -> Tensor:
        seen = layer(identity)
        ends.append(seen.clone())
        return seen.square().sum() + seen.sum()

    def seen_unperturbed() -> Tensor:
        optimizer.eval()
        result = layer(identity).detach().clone()
        optimizer.train()
        return result

    for _ in range(min(2 * interval + 1, 60)):
        before = seen_unperturbed()
        optimizer.step(look)
        probed, applied = ends[-2] - ends[-1], seen_unperturbed() - before
        matrix = slice(0, 12), slice(None)
        # The rows of the identity show bias and matrix together, the last row the bias alone.
        for direction in (probed, applied):
            direction[matrix] -= direction[-1]
        for part in (matrix, (slice(12, 13), slice(None))):
            cosine = F.cosine_similarity(probed[part].flatten(), applied[part].flatten(), dim=0)
            assert abs(abs(cosine) - 1) < 1e-6
    assert float(optimizer.state[layer.weight]["step"]) == min(2 * interval + 1, 60)


@pytest.mark.parametrize("make", [LOZO, MeZO], ids=["lozo", "mezo"])
def test_11_a_quadratic_is_differentiated_exactly_at_every_eps(make: Any, slopes: list[float]) -> None:
    weight = torch.randn(12, 10, dtype=torch.float64)
    for eps in (1e-4, 1e-2, 1.0, 30.0):
        parameter = nn.Parameter(weight.clone())
        options = {"backend": "inplace"} if make is LOZO else {}
        optimizer = make([parameter], lr=0.0, eps=eps, **options)
        optimizer.step(lambda p=parameter: p.square().sum() + 3 * p[0].sum())
    ends = []
    probe = nn.Parameter(weight.clone())
    optimizer = make([probe], lr=0.0, eps=1.0, **options)
    optimizer.step(lambda: ends.append(probe.detach().clone()) or 0.0)
    direction, gradient = (ends[0] - ends[1]) / 2, 2 * weight
    gradient[0] += 3
    exact = float((direction * gradient).sum())
    assert slopes[:4] == pytest.approx([exact] * 4, rel=1e-8)


def test_11_the_error_of_a_cubic_falls_with_the_square_of_eps(slopes: list[float]) -> None:
    weight = torch.randn(12, 10, dtype=torch.float64)
    for eps in (0.0625, 0.125, 0.25, 1e-6):
        parameter = nn.Parameter(weight.clone())
        optimizer = LOZO([parameter], lr=0.0, eps=eps, backend="inplace")
        optimizer.step(lambda p=parameter: p.pow(3).sum())
    exact = slopes.pop()
    errors = [abs(slope - exact) for slope in slopes]
    assert errors[1] / errors[0] == pytest.approx(4, rel=1e-3)
    assert errors[2] / errors[1] == pytest.approx(4, rel=1e-3)


def trajectory(arrange: Callable[[list[tuple[str, nn.Parameter]]], Any], backend: str) -> list[Tensor]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(12, 14), nn.Tanh(), nn.LayerNorm(14), nn.Linear(14, 11)).double()
    inputs = torch.randn(6, 12, dtype=torch.float64)
    options: dict[str, Any] = {"lr": 1e-2, "interval": 3, "momentum": 0.8, "backend": backend, "probes": 2}
    optimizer = LOZO(arrange(list(model.named_parameters())), **options)
    optimizer.attach(model)
    for _ in range(7):
        optimizer.step(lambda: model(inputs).square().mean())
    optimizer.merge()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_12_order_and_division_into_groups_do_not_matter(backend: str) -> None:
    expected = trajectory(lambda named: named, backend)
    for arrange in (
        lambda named: named[::-1],
        lambda named: [{"params": named[::2]}, {"params": named[1::2]}],
        lambda named: [{"params": [pair]} for pair in named[::-1]],
    ):
        for one, two in zip(trajectory(arrange, backend), expected, strict=True):
            assert torch.equal(one, two)


def test_scale_reference_drops_the_division_by_the_rank_for_matrices_alone() -> None:
    weights = {}
    for scale in ("paper", "reference"):
        layer = nn.Linear(20, 16, dtype=torch.float64)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        optimizer = LOZO(layer.named_parameters(), lr=1.0, rank=3, scale=scale, backend="inplace")
        optimizer.step(lambda layer=layer: layer.weight.sum() + layer.bias.sum())
        weights[scale] = layer
    torch.testing.assert_close(weights["reference"].weight, 3 * weights["paper"].weight)
    torch.testing.assert_close(weights["reference"].bias, weights["paper"].bias)
    assert weights["paper"].weight.count_nonzero() == 320


def test_momentum_goes_on_at_every_step_with_an_interval_of_one() -> None:
    weight = nn.Parameter(torch.zeros(16, 12, dtype=torch.float64))
    optimizer = LOZOM([weight], lr=0.0, interval=1, momentum=0.9, backend="inplace")
    momentum, norms = optimizer.state[weight]["momentum"], []
    for step in range(4):
        # After the first step the loss is flat: what the momentum holds is what it kept.
        optimizer.step(lambda step=step: weight.sum() if step == 0 else weight.sum() * 0)
        norms.append(float(momentum.norm()))
    assert all(norm > 0 for norm in norms)
    assert norms[1] != norms[0]


def test_a_narrow_matrix_has_a_direction_of_its_own_shape() -> None:
    wide, narrow = nn.Parameter(torch.zeros(9, 9)), nn.Parameter(torch.zeros(9, 8))
    optimizer = LOZO([("wide", wide), ("narrow", narrow)], lr=1.0, rank=2, backend="inplace")
    optimizer.step(lambda: wide.sum() + narrow.sum())
    assert torch.linalg.matrix_rank(wide.detach()) == 2
    assert torch.linalg.matrix_rank(narrow.detach()) == 8


def test_mezo_moves_along_z_of_the_weights_shape_streamed_or_held() -> None:
    """A weight larger than what is held is drawn in pieces: the same mathematics."""
    for shape in ((300, 300), (20, 30)):
        weight = nn.Parameter(torch.zeros(*shape, dtype=torch.float64))
        ends: list[Tensor] = []
        optimizer = MeZO([weight], lr=1e-2)
        optimizer.step(lambda w=weight, ends=ends: (ends.append(w.detach().clone()), w.sum())[1])
        z = (ends[0] - ends[1]) / 2e-3
        assert abs(z.mean()) < 5 / z.numel() ** 0.5
        assert z.std() == pytest.approx(1, abs=0.15)
        torch.testing.assert_close(weight.detach(), -1e-2 * z.sum() * z, rtol=1e-6, atol=1e-8)
