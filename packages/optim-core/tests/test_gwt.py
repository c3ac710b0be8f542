"""GWTAdamW against the published step written out, its hazards, and its published properties."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_optim_core import GWTAdamW

PLAIN: dict[str, Any] = {"level": 0, "scale": 1.0, "norm_growth_limit": None}


class Published:
    """Section 3 step by step: every coefficient made, divided, and transformed back."""

    def __init__(self, weight: Tensor, level: int, **options: Any) -> None:
        self.weight, self.level = weight.clone(), level
        self.options = {"lr": 1e-2, "scale": 0.25, "weight_decay": 0.0, "limit": 1.01, **options}
        self.mean, self.square = torch.zeros(()), torch.zeros(())
        self.previous: float | None = None
        self.step_count = 0

    def step(self, gradient: Tensor) -> None:
        lr, scale, eps, (beta1, beta2) = self.options["lr"], self.options["scale"], 1e-6, (0.9, 0.999)
        self.step_count += 1
        low, details = gradient, []
        for _ in range(self.level):
            low = torch.nn.functional.pad(low, (0, low.shape[1] % 2))
            low, high = (
                (low[:, ::2] + low[:, 1::2]) / math.sqrt(2),
                (low[:, ::2] - low[:, 1::2]) / math.sqrt(2),
            )
            details.append(high)
        self.mean = beta1 * self.mean + (1 - beta1) * low
        self.square = beta2 * self.square + (1 - beta2) * low * low
        root = self.square.sqrt() + eps
        direction = self.mean / root
        norm = float(direction.norm())
        divisor = 1.0
        if self.options["limit"] is not None:
            if self.previous is not None:
                divisor = max(norm / (self.previous + 1e-8), self.options["limit"]) / self.options["limit"]
            self.previous = norm / divisor
        update = direction / divisor
        for high in reversed(details):
            update, root = update[:, : high.shape[1]], root[:, : high.shape[1]]
            high = high / (divisor * root)
            update = torch.stack([update + high, update - high], dim=-1).flatten(-2) / math.sqrt(2)
            root = root.repeat_interleave(2, dim=1)
        update = scale * update[:, : gradient.shape[1]]
        corrected = lr * math.sqrt(1 - beta2**self.step_count) / (1 - beta1**self.step_count)
        self.weight = self.weight - corrected * update
        self.weight = self.weight - lr * self.options["weight_decay"] * self.weight


def run(weight: Tensor, gradients: list[Tensor], **options: Any) -> Tensor:
    """Return the weight after one step a gradient."""
    parameter = torch.nn.Parameter(weight.clone())
    optimizer = GWTAdamW([parameter], **options)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("modes", [{}, {"foreach": True}, {"capturable": True}], ids=str)
def test_section_14_worked_example(modes: dict[str, bool]) -> None:
    weight = torch.zeros(2, 4, dtype=torch.float64)
    first = torch.tensor([[1, 2, 3, 4], [-1, 0, 2, -3]], dtype=torch.float64)
    second = torch.tensor([[2, -1, 0.5, 1], [4, 4, -4, 1]], dtype=torch.float64)
    options = {"lr": 0.1, "level": 1, "detail_guard": "off", **modes}
    after_one = [
        [0.041247280691, -0.076602092712, 0.007576095682, -0.042931208866],
        [0.194445668952, -0.159091910960, -0.866167070785, 0.901520828776],
    ]
    after_two = [
        [-0.087322189828, 0.023735505943, 0.002857261964, -0.064503020150],
        [0.183825750530, -0.169711829382, -0.660614497773, 0.725714268185],
    ]
    for gradients, expected in (([first], after_one), ([first, second], after_two)):
        error = run(weight, gradients, **options) - torch.tensor(expected, dtype=torch.float64)
        assert error.abs().max() < 1e-11


@pytest.mark.parametrize("modes", [{}, {"foreach": True}, {"capturable": True}], ids=str)
@pytest.mark.parametrize(("width", "level"), [(13, 0), (5, 1), (171, 1), (16, 2), (13, 2), (171, 3), (5, 4)])
def test_p2_closed_form_follows_section_3_for_forty_steps(
    width: int, level: int, modes: dict[str, bool]
) -> None:
    weight = torch.randn(6, width, dtype=torch.float64)
    published = Published(weight, level, weight_decay=0.1)
    parameter = torch.nn.Parameter(weight.clone())
    optimizer = GWTAdamW([parameter], lr=1e-2, level=level, weight_decay=0.1, detail_guard="off", **modes)
    for step in range(40):
        # Growing by jumps, so that the limiter acts on many steps.
        gradient = torch.randn(6, width, dtype=torch.float64) * (1.0 + 3.0 * (step % 3))
        published.step(gradient)
        parameter.grad = gradient
        optimizer.step()
        # The published step may throw weights far (H1): errors are relative to how far they went.
        scale = max(1.0, float(published.weight.abs().max()))
        assert (parameter - published.weight).abs().max() < 1e-12 * scale * (step + 1)
    assert float(optimizer.state[parameter]["previous_norm"]) == pytest.approx(published.previous, rel=1e-12)


def test_eq_norm_growth_limiter_bounds_growth_at_one_percent() -> None:
    parameter = torch.nn.Parameter(torch.zeros(8, 16, dtype=torch.float64))
    optimizer = GWTAdamW([parameter], level=1)
    norms = []
    for step in range(30):
        # Flipping signs make the mean small and then let it grow.
        parameter.grad = torch.randn(8, 16, dtype=torch.float64) + (-1.0) ** (step // 10)
        optimizer.step()
        norms.append(float(optimizer.state[parameter]["previous_norm"]))
    growth = [after / before for before, after in pairwise(norms)]
    assert max(growth) <= 1.01 + 1e-7
    assert sum(rate > 1.0099 for rate in growth) > 3
    assert min(growth) < 0.99


def test_eq_decay_comes_after_the_update_with_the_uncorrected_rate() -> None:
    weight = torch.randn(2, 8, dtype=torch.float64)
    gradient = torch.randn(2, 8, dtype=torch.float64)
    without = run(weight, [gradient], lr=0.1, weight_decay=0.0)
    with_decay = run(weight, [gradient], lr=0.1, weight_decay=0.5)
    torch.testing.assert_close(with_decay, without * (1 - 0.1 * 0.5), rtol=1e-14, atol=0)


def adam_with_published_eps(weight: Tensor, gradients: list[Tensor], lr: float) -> Tensor:
    """Adam with eps outside the bias correction."""
    weight, mean, square = weight.clone(), torch.zeros_like(weight), torch.zeros_like(weight)
    for step, gradient in enumerate(gradients, 1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient * gradient
        weight -= lr * math.sqrt(1 - 0.999**step) / (1 - 0.9**step) * mean / (square.sqrt() + 1e-6)
    return weight


@pytest.mark.parametrize("shape", [(), (5,), (4, 6), (4, 3, 2, 2)])
def test_p3_level_0_is_adam(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, dtype=torch.float64)
    gradients = [torch.randn(shape, dtype=torch.float64) for _ in range(10)]
    expected = adam_with_published_eps(weight, gradients, 1e-2)
    options = {**PLAIN, "lr": 1e-2}
    torch.testing.assert_close(run(weight, gradients, **options), expected, rtol=1e-12, atol=1e-13)


def test_p3_level_0_is_torchs_adamw_where_eps_and_decay_do_not_matter() -> None:
    weight = torch.randn(4, 6, dtype=torch.float64)
    gradients = [torch.randn(4, 6, dtype=torch.float64) for _ in range(10)]
    parameter = torch.nn.Parameter(weight.clone())
    theirs = torch.optim.AdamW([parameter], lr=1e-2, eps=1e-30, weight_decay=0.0)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        theirs.step()
    ours = run(weight, gradients, lr=1e-2, eps=1e-30, **PLAIN)
    torch.testing.assert_close(ours, parameter.detach(), rtol=1e-12, atol=1e-13)


def test_a_single_number_is_plain_adam_whatever_the_group_says() -> None:
    weight = torch.tensor(1.5, dtype=torch.float64)
    gradients = [torch.randn((), dtype=torch.float64) for _ in range(5)]
    ours = run(weight, gradients, lr=1e-2, level=3)
    assert float(ours) == pytest.approx(float(adam_with_published_eps(weight, gradients, 1e-2)), rel=1e-12)


@pytest.mark.parametrize("guard", ["auto", "off"])
def test_p4_permuting_rows_permutes_the_update(guard: str) -> None:
    weight = torch.randn(9, 13, dtype=torch.float64)
    gradients = [torch.randn(9, 13, dtype=torch.float64) for _ in range(5)]
    order = torch.randperm(9)
    plain = run(weight, gradients, level=2, detail_guard=guard)
    permuted = run(weight[order], [gradient[order] for gradient in gradients], level=2, detail_guard=guard)
    torch.testing.assert_close(permuted, plain[order], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("guard", ["auto", "off"])
@pytest.mark.parametrize("power", [-3, 5])
def test_p5_powers_of_two_in_the_gradient_cancel(power: int, guard: str) -> None:
    weight = torch.zeros(6, 16, dtype=torch.float64)
    gradients = [torch.randn(6, 16, dtype=torch.float64) for _ in range(5)]
    scaled = [gradient * 2.0**power for gradient in gradients]
    options = {"level": 2, "eps": 1e-30, "detail_guard": guard}
    torch.testing.assert_close(
        run(weight, scaled, **options), run(weight, gradients, **options), rtol=1e-12, atol=1e-14
    )


def spiky_gradient() -> Tensor:
    return torch.randn(512, 1376) * 0.3 * torch.randn(512, 1)


def test_h1_the_published_first_step_is_a_spike_and_the_guard_removes_it() -> None:
    gradients = [spiky_gradient() for _ in range(2)]
    weight = torch.zeros(512, 1376)
    largest = {}
    for guard in ("off", "auto"):
        one = run(weight, gradients[:1], lr=1.0, scale=1.0, level=2, detail_guard=guard)
        two = run(weight, gradients, lr=1.0, scale=1.0, level=2, detail_guard=guard)
        largest[guard] = (float(one.abs().max()), float((two - one).abs().max()))
    assert largest["off"][0] > 1e4
    assert largest["auto"][0] < 3.6
    assert largest["auto"][1] < 3.6


@pytest.mark.parametrize("modes", [{}, {"capturable": True}], ids=str)
def test_h2_a_zero_first_gradient_does_not_freeze_the_limiter(modes: dict[str, bool]) -> None:
    weight = torch.zeros(4, 8, dtype=torch.float64)
    gradients = [torch.randn(4, 8, dtype=torch.float64) for _ in range(2)]
    moved = run(weight, [torch.zeros_like(weight), *gradients], level=1, **modes)
    assert moved.abs().mean() > 1e-4

    parameter = torch.nn.Parameter(weight.clone())
    optimizer = GWTAdamW([parameter], level=1, betas=(0.0, 0.999), **modes)
    for gradient in (gradients[0], torch.zeros_like(weight)):
        parameter.grad = gradient
        optimizer.step()
    # betas[0] = 0 makes the second direction exactly zero: the norm of the first one must survive it.
    assert float(optimizer.state[parameter]["previous_norm"]) > 0


@pytest.mark.parametrize("modes", [{}, {"foreach": True}, {"capturable": True}], ids=str)
@pytest.mark.parametrize(("level", "poison"), [(0, math.nan), (2, math.inf), (2, -math.inf), (0, 1e25)])
def test_h5_a_non_finite_gradient_skips_its_weight_only(
    level: int, poison: float, modes: dict[str, bool]
) -> None:
    weights = [torch.randn(4, 10) for _ in range(2)]
    gradients = [[torch.randn(4, 10) for _ in weights] for _ in range(3)]
    poisoned, other = (torch.nn.Parameter(weight.clone()) for weight in weights)
    optimizer = GWTAdamW([poisoned, other], level=level, weight_decay=0.1, **modes)
    for step, (first, second) in enumerate(gradients):
        poisoned.grad, other.grad = first.clone(), second.clone()
        if step == 1:
            poisoned.grad[2, 3] = poison
        optimizer.step()
    assert optimizer.nonfinite_skips() == 1
    assert float(optimizer.state[poisoned]["step"]) == 2
    kept = run(weights[0], [gradients[0][0], gradients[2][0]], level=level, weight_decay=0.1, **modes)
    whole = run(weights[1], [second for _, second in gradients], level=level, weight_decay=0.1, **modes)
    assert torch.equal(poisoned, kept)
    assert torch.equal(other, whole)


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("guard", ["auto", "off"])
def test_all_ways_of_taking_a_step_agree(level: int, guard: str) -> None:
    shapes = [(7, 20), (3, 5), (9,), (4, 3, 3, 3)]
    finals = []
    for modes in ({"foreach": False}, {"foreach": True}, {"capturable": True}):
        torch.manual_seed(1)
        parameters = [torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in shapes]
        optimizer = GWTAdamW(parameters, level=level, detail_guard=guard, weight_decay=0.1, **modes)
        for _ in range(5):
            for parameter in parameters:
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        finals.append([parameter.detach() for parameter in parameters])
    for other in finals[1:]:
        for one, two in zip(finals[0], other, strict=True):
            torch.testing.assert_close(two, one, rtol=1e-11, atol=1e-13)


def test_runs_of_rows_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(17, 13, dtype=torch.float64)
    gradients = [torch.randn(17, 13, dtype=torch.float64) for _ in range(5)]
    whole = run(weight, gradients, level=2)
    monkeypatch.setattr("graftwork_optim_core.subspace.batch._RUN_ELEMENTS", 40)
    torch.testing.assert_close(run(weight, gradients, level=2), whole, rtol=1e-12, atol=1e-14)


def test_more_than_two_dimensions_are_one_row_a_first_index() -> None:
    weight = torch.randn(6, 3, 3, 3, dtype=torch.float64)
    gradients = [torch.randn(6, 3, 3, 3, dtype=torch.float64) for _ in range(3)]
    flat = run(weight.flatten(1), [gradient.flatten(1) for gradient in gradients], level=2)
    assert torch.equal(run(weight, gradients, level=2).flatten(1), flat)


@pytest.mark.parametrize("level", [0, 2])
def test_strides_do_not_matter(level: int) -> None:
    weight = torch.randn(6, 4, 3, 3, dtype=torch.float64)
    gradients = [torch.randn_like(weight) for _ in range(3)]
    plain = run(weight, gradients, level=level)
    last = [gradient.to(memory_format=torch.channels_last) for gradient in gradients]
    ours = run(weight.to(memory_format=torch.channels_last), last, level=level)
    torch.testing.assert_close(ours, plain, rtol=1e-13, atol=1e-14)
    transposed = run(weight.flatten(1).t().contiguous().t(), [g.flatten(1) for g in gradients], level=level)
    torch.testing.assert_close(transposed, plain.flatten(1), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("state_dtype", ["param", "float32"])
def test_bfloat16_weights_are_one_rounding_away_from_float32(state_dtype: str) -> None:
    weight = torch.randn(16, 32).bfloat16()
    gradient = torch.randn(16, 32).bfloat16()
    options = {"lr": 0.1, "level": 2, "weight_decay": 0.1}
    ours = run(weight, [gradient], state_dtype=state_dtype, **options)
    exact = run(weight.float(), [gradient.float()], **options)
    if state_dtype == "float32":
        assert torch.equal(ours, exact.bfloat16())
    else:
        # Moments rounded to eight bits make the update a few of their roundings off.
        torch.testing.assert_close(ours.float(), exact, rtol=2**-7, atol=0.1 * 2**-6)


def test_moments_in_bfloat16_when_asked() -> None:
    parameter = torch.nn.Parameter(torch.randn(4, 8))
    optimizer = GWTAdamW([parameter], state_dtype="bfloat16")
    parameter.grad = torch.randn(4, 8)
    optimizer.step()
    assert optimizer.state[parameter]["exp_avg"].dtype == torch.bfloat16
    assert optimizer.state[parameter]["previous_norm"].dtype == torch.float32


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("lr", -1.0, "lr must be 0 or more, got -1.0"),
        ("betas", (0.9, 1.0), r"betas must be two numbers in \[0, 1\), got \(0.9, 1.0\)"),
        ("eps", 0.0, "eps must be greater than 0, got 0.0"),
        ("weight_decay", -0.1, "weight_decay must be 0 or more, got -0.1"),
        ("level", 17, r"level must be a whole number in 0\.\.16, got 17"),
        ("level", True, "level must be a whole number"),
        ("scale", 0.0, "scale must be greater than 0, got 0.0"),
        ("detail_guard", "on", "detail_guard must be 'auto' or 'off', got 'on'"),
        ("norm_growth_limit", 0.9, "norm_growth_limit must be None or 1 or more, got 0.9"),
        ("state_dtype", "float16", "state_dtype must be 'param', 'float32' or 'bfloat16', got 'float16'"),
    ],
)
def test_ranges_are_stated(option: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GWTAdamW([torch.nn.Parameter(torch.zeros(2, 2))], **{option: value})
    optimizer = GWTAdamW([torch.nn.Parameter(torch.zeros(2, 2))])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2, 2))], option: value})
    assert len(optimizer.param_groups) == 1


def test_float16_moments_are_refused_by_name() -> None:
    half = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.float16))
    with pytest.raises(ValueError, match=r"'block.mlp' is float16"):
        GWTAdamW([("block.mlp", half)])
    assert (
        GWTAdamW([("block.mlp", half)], state_dtype="float32").state[half]["exp_avg"].dtype == torch.float32
    )


@pytest.mark.parametrize("foreach", [None, False])
def test_p9_a_capturable_step_reads_nothing_back(foreach: bool | None) -> None:
    # On the meta device any read of a value raises.
    parameters = [torch.nn.Parameter(torch.zeros(s, device="meta")) for s in [(8, 12), (8, 12), (5,), ()]]
    optimizer = GWTAdamW(parameters, level=2, weight_decay=0.1, foreach=foreach, capturable=True)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.step()
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        optimizer.nonfinite_skips()


def test_a_learning_rate_in_a_tensor_is_read_at_every_step() -> None:
    weight, gradient = torch.randn(3, 8, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    for modes in ({}, {"capturable": True}):
        parameter = torch.nn.Parameter(weight.clone())
        rate = torch.tensor(0.5, dtype=torch.float64)
        optimizer = GWTAdamW([parameter], lr=rate, **modes)
        parameter.grad = gradient
        rate.fill_(0.0)
        optimizer.step()
        assert torch.equal(parameter, weight)
        rate.fill_(0.25)
        optimizer.step()
        assert not torch.equal(parameter, weight)


def test_repr_tells_the_options_and_no_names() -> None:
    text = repr(GWTAdamW([("layer.weight", torch.nn.Parameter(torch.zeros(4, 8)))], level=3))
    assert text.startswith("GWTAdamW (")
    assert "1 tensors, 32 parameters" in text
    assert "level: 3" in text
    assert "layer.weight" not in text


def test_stochastic_rounding_keeps_updates_that_are_below_half_a_bfloat16_step() -> None:
    def drift(stochastic: bool) -> float:
        weight = torch.nn.Parameter(torch.ones(64, 64, dtype=torch.bfloat16))
        optimizer = GWTAdamW(
            [weight], lr=2e-4, scale=1.0, level=2, norm_growth_limit=None, stochastic_rounding=stochastic
        )
        for _ in range(50):
            weight.grad = torch.ones(64, 64, dtype=torch.bfloat16)
            optimizer.step()
        return float(weight.float().mean())

    # Fifty steps of 1e-4, half the rate in blocks of four; a bfloat16 step below 1 is 3.9e-3, and nearest
    # rounding sees nothing of them.
    assert drift(False) == 1.0
    assert drift(True) == pytest.approx(1 - 50e-4, abs=4e-4)


def test_stochastic_rounding_resumes_exactly_and_leaves_skipped_weights() -> None:
    torch.manual_seed(3)
    start = torch.randn(8, 12).bfloat16()
    gradients = [torch.randn(8, 12).bfloat16() for _ in range(6)]
    gradients[4][0, 0] = torch.nan
    options: dict[str, Any] = {"lr": 1e-3, "level": 1, "stochastic_rounding": True}
    weight = torch.nn.Parameter(start.clone())
    optimizer = GWTAdamW([weight], **options)
    for step, gradient in enumerate(gradients):
        if step == 3:
            middle, state = weight.detach().clone(), copy.deepcopy(optimizer.state_dict())
        before = weight.detach().clone()
        weight.grad = gradient
        optimizer.step()
        assert torch.equal(weight, before) is (step == 4)
    resumed = torch.nn.Parameter(middle)
    other = GWTAdamW([resumed], **options)
    other.load_state_dict(state)
    for gradient in gradients[3:]:
        resumed.grad = gradient
        other.step()
    assert torch.equal(resumed, weight)


def test_a_state_saved_by_the_first_release_loads() -> None:
    """Its groups knew fewer options, and made plain groups by level 0."""
    old = ("lr", "betas", "eps", "weight_decay", "level", "scale", "detail_guard", "norm_growth_limit")
    old += ("state_dtype", "maximize", "foreach", "capturable", "params")
    gradients = [(torch.randn(8, 16), torch.randn(4, 8)) for _ in range(4)]

    def parameters() -> list[torch.nn.Parameter]:
        torch.manual_seed(1)
        return [torch.nn.Parameter(torch.randn(8, 16)), torch.nn.Parameter(torch.randn(4, 8))]

    def step(weights: list[torch.nn.Parameter], optimizer: GWTAdamW, number: int) -> None:
        for weight, gradient in zip(weights, gradients[number], strict=True):
            weight.grad = gradient.clone()
        optimizer.step()

    weights = parameters()
    optimizer = GWTAdamW([{"params": [weights[0]]}, {"params": [weights[1]], **PLAIN}], lr=1e-2)
    step(weights, optimizer, 0)
    step(weights, optimizer, 1)
    saved = optimizer.state_dict()
    saved = {
        "state": {key: dict(value) for key, value in saved["state"].items()},
        "param_groups": [{key: group[key] for key in old} for group in saved["param_groups"]],
    }
    others = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    resumed = GWTAdamW([{"params": [others[0]]}, {"params": [others[1]], "plain": True}], lr=1.0)
    resumed.load_state_dict(saved)
    for number in (2, 3):
        step(weights, optimizer, number)
        step(others, resumed, number)
    for one, two in zip(weights, others, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)
