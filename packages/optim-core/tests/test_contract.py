"""What every optimizer of this package must keep. A further one joins by one line in ``OPTIMIZERS``."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from graftwork_optim_core import (
    GaLoreAdafactor,
    GaLoreAdamW,
    GaLoreAdamW8bit,
    GoLoreAdamW,
    GoLoreMSGD,
    GWTAdamW,
    GWTMuon,
    SubspaceOptimizer,
)

LOW_RANK: dict[str, Any] = {"rank": 3, "refresh_every": 4}
STEPS = 20


def pair(host: str, transform: str) -> Callable[..., torch.optim.Optimizer]:
    options = {} if transform == "wavelet" else LOW_RANK
    return partial(SubspaceOptimizer, host=host, transform=transform, transform_options=options)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "sgd": lambda params, **options: torch.optim.SGD(params, **{"momentum": 0.9, **options}),
    "gwt-adamw": GWTAdamW,
    "gwt-adamw-db2": partial(GWTAdamW, basis="db2", level=1),
    "gwt-muon": GWTMuon,
    "galore-adamw": partial(GaLoreAdamW, **LOW_RANK),
    "galore-adamw-full": partial(GaLoreAdamW, **LOW_RANK, side="full", basis="power", stagger=True),
    "galore-adamw8bit": partial(GaLoreAdamW8bit, **LOW_RANK, basis="gram"),
    "galore-adafactor": partial(GaLoreAdafactor, **LOW_RANK, basis="rsvd", beta1=0.9),
    "golore-adamw": partial(GoLoreAdamW, **LOW_RANK, random_last=0.5, total_steps=STEPS),
    "golore-msgd": partial(GoLoreMSGD, **LOW_RANK, random_last=0.5, total_steps=STEPS, scale=1.0),
    "adam-mini-random": pair("adam-mini", "random"),
    "muon-svd": pair("muon", "svd"),
    "msgd-wavelet": pair("msgd", "wavelet"),
    "adafactor-wavelet": pair("adafactor", "wavelet"),
    "adam8bit-wavelet": pair("adam8bit", "wavelet"),
}
every = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
ours = pytest.mark.parametrize(
    "make",
    [make for name, make in OPTIMIZERS.items() if name not in ("adamw", "sgd")],
    ids=[name for name in OPTIMIZERS if name not in ("adamw", "sgd")],
)
pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than two dimensions")


class Small(nn.Module):
    """An embedding, a weight of odd width, one of three pixels, a bias, a norm and a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 7)
        self.mlp = nn.Linear(7, 6)
        self.convolution = nn.Conv1d(6, 4, 3, padding=1)
        self.norm = nn.LayerNorm(4)
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = torch.tanh(self.mlp(self.table(tokens))).transpose(1, 2)
        return self.norm(self.convolution(hidden).transpose(1, 2)) * self.gain


def small(dtype: torch.dtype = torch.float32) -> Small:
    torch.manual_seed(3)
    return Small().to(dtype)


def loss_of(model: nn.Module, step: int) -> Tensor:
    tokens = torch.randint(0, 5, (2, 6), generator=torch.Generator().manual_seed(step))
    output: Tensor = model(tokens)
    return (output - 0.1 * step).square().float().mean()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def assert_equal(one: list[Tensor], two: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


@every
def test_closure_is_declared_or_not_needed(make: Callable[..., torch.optim.Optimizer]) -> None:
    optimizer = make(small().parameters())
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert getattr(optimizer, "closure", None) in (None, "loss", "gradient")


@every
def test_it_trains(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2)
    before = loss_of(model, 3).item()
    for _ in range(40):
        train(model, optimizer, 3, 4)
    assert loss_of(model, 3).item() < 0.8 * before


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_p6_resuming_at_every_step_is_exact(
    make: Callable[..., torch.optim.Optimizer], dtype: torch.dtype
) -> None:
    model = small(dtype)
    optimizer = make(model.parameters(), lr=1e-2)
    snapshots = []
    for step in range(STEPS):
        snapshots.append((copy.deepcopy(model.state_dict()), through_a_file(optimizer.state_dict())))
        train(model, optimizer, step, step + 1)
    for step, (model_state, optimizer_state) in enumerate(snapshots):
        resumed = small(dtype)
        resumed.load_state_dict(model_state)
        resumed_optimizer = make(resumed.parameters(), lr=5.0)
        resumed_optimizer.load_state_dict(optimizer_state)
        train(resumed, resumed_optimizer, step, STEPS)
        assert_equal(weights(resumed), weights(model))


@every
def test_state_is_tensors_and_plain_numbers(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = small()
    optimizer = make(model.parameters())
    train(model, optimizer, 0, 2)
    for state in optimizer.state_dict()["state"].values():
        assert all(isinstance(value, (Tensor, int, float)) for value in state.values())


@ours
def test_taking_a_state_dict_of_a_fresh_optimizer_changes_nothing(
    make: Callable[..., torch.optim.Optimizer],
) -> None:
    model = small()
    optimizer = make(model.parameters())
    before, generator = weights(model), torch.get_rng_state()
    state = copy.deepcopy(optimizer.state_dict())
    get_optimizer_state_dict(model, optimizer)
    assert_equal(before, weights(model))
    assert torch.equal(generator, torch.get_rng_state())
    assert len(state["state"]) == len(before)
    for key, entry in optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, state["state"][key][name]) for name, value in entry.items())


@every
def test_distributed_checkpoints_state_dict_round_trip_is_exact(
    make: Callable[..., torch.optim.Optimizer],
) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2)
    train(model, optimizer, 0, 5)
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer))
    resumed = small()
    resumed.load_state_dict(model.state_dict())
    resumed_optimizer = make(resumed.parameters(), lr=1e-2)
    set_optimizer_state_dict(resumed, resumed_optimizer, saved)
    train(model, optimizer, 5, 8)
    train(resumed, resumed_optimizer, 5, 8)
    assert_equal(weights(resumed), weights(model))


@every
def test_a_closure_runs_once_with_gradients(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2)
    losses = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        losses.append(loss.detach())
        return loss

    before = weights(model)
    with torch.no_grad():
        returned = optimizer.step(closure)
    assert len(losses) == 1
    assert returned is not None
    assert returned.item() == losses[0].item()
    assert not torch.equal(before[1], weights(model)[1])


@every
def test_maximize_climbs_exactly_as_it_would_descend(make: Callable[..., torch.optim.Optimizer]) -> None:
    finals = []
    for sign in (1.0, -1.0):
        model = small()
        optimizer = make(model.parameters(), lr=1e-2, weight_decay=0.1, maximize=sign < 0)
        for step in range(3):
            optimizer.zero_grad()
            (sign * loss_of(model, step)).backward()
            optimizer.step()
        finals.append(weights(model))
    assert_equal(*finals)


@every
def test_no_gradient_no_step(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2, weight_decay=0.1)
    before = weights(model)
    optimizer.step()
    assert_equal(before, weights(model))
    loss_of(model, 0).backward()
    model.mlp.weight.grad = None
    optimizer.step()
    assert torch.equal(model.mlp.weight, before[2])
    assert not torch.equal(model.table.weight, before[1])
    step = optimizer.state[model.mlp.weight].get("step", torch.tensor(0.0))
    assert float(step) == 0


@every
def test_empty_parameters_are_left_alone(make: Callable[..., torch.optim.Optimizer]) -> None:
    empties = [nn.Parameter(torch.zeros(shape)) for shape in [(0,), (0, 4), (4, 0)]]
    full = nn.Parameter(torch.ones(2, 4))
    optimizer = make([*empties, full], lr=1e-2)
    for parameter in (*empties, full):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert not torch.equal(full, torch.ones(2, 4))


@every
def test_a_group_added_later_starts_at_its_own_first_step(make: Callable[..., torch.optim.Optimizer]) -> None:
    gradient = torch.randn(4, 8)
    # Random bases follow a parameter's place, so that it must be the second in both.
    idle, alone = nn.Parameter(torch.zeros(4, 8)), nn.Parameter(torch.zeros(4, 8))
    optimizer = make([idle, alone], lr=1e-2)
    alone.grad = gradient.clone()
    optimizer.step()
    first, later = nn.Parameter(torch.zeros(4, 8)), nn.Parameter(torch.zeros(4, 8))
    optimizer = make([first], lr=1e-2)
    for _ in range(3):
        first.grad = torch.randn(4, 8)
        optimizer.step()
    optimizer.add_param_group({"params": [later]})
    later.grad = gradient.clone()
    optimizer.step()
    assert torch.equal(later, alone)


@every
def test_foreach_agrees_with_the_loop(make: Callable[..., torch.optim.Optimizer]) -> None:
    finals = []
    for foreach in (False, True):
        model = small(torch.float64)
        optimizer = make(model.parameters(), lr=1e-2, weight_decay=0.1, foreach=foreach)
        train(model, optimizer, 0, 5)
        finals.append(weights(model))
    for one, two in zip(*finals, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-13)


@every
def test_a_learning_rate_scheduler_drives_it(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step > 0))
    before = weights(model)
    train(model, optimizer, 0, 1)
    assert_equal(before, weights(model))
    scheduler.step()
    train(model, optimizer, 1, 2)
    assert not torch.equal(before[1], weights(model)[1])


@every
def test_a_copy_goes_on_by_itself(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2)
    train(model, optimizer, 0, 3)
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    train(model, optimizer, 3, 6)
    train(twin, twin_optimizer, 3, 6)
    assert_equal(weights(model), weights(twin))
    assert repr(twin_optimizer) == repr(optimizer)


@ours
def test_sparse_and_complex_are_refused_by_name(make: Callable[..., torch.optim.Optimizer]) -> None:
    table = nn.Embedding(5, 4, sparse=True)
    optimizer = make([("words.weight", table.weight)])
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match=r"'words.weight' has a gradient of layout torch.sparse_coo"):
        optimizer.step()
    with pytest.raises(
        ValueError, match=r"'phase' must be of a real floating-point dtype, got torch.complex64"
    ):
        make([("phase", nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64)))])
    with pytest.raises(ValueError, match=r"'group 0, parameter 0' must be of a real"):
        make([nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))])


@ours
def test_the_dtype_of_the_state_survives_loading(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = small(torch.bfloat16)
    optimizer = make(model.parameters(), lr=1e-2, state_dtype="float32")
    train(model, optimizer, 0, 3)
    resumed = make(small(torch.bfloat16).parameters(), state_dtype="float32")
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    for before, after in zip(optimizer.state.values(), resumed.state.values(), strict=True):
        assert {key: value.dtype for key, value in before.items()} == {
            key: value.dtype for key, value in after.items()
        }
        assert all(torch.equal(value, after[key]) for key, value in before.items())
    narrow = make(small(torch.bfloat16).parameters(), state_dtype="param")
    narrow.load_state_dict(through_a_file(optimizer.state_dict()))
    for state in narrow.state.values():
        assert all(
            state[key].dtype == torch.bfloat16 for key in ("exp_avg", "momentum_buffer") if key in state
        )


@ours
def test_hooks_of_others_run_around_loading(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2)
    train(model, optimizer, 0, 2)
    saved = through_a_file(optimizer.state_dict())
    seen = []

    def halve(_: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        groups = [{**group, "lr": group["lr"] / 2} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    resumed = make(small().parameters(), lr=1e-2)
    resumed.register_load_state_dict_pre_hook(halve)
    resumed.register_load_state_dict_post_hook(
        lambda o: seen.append(float(next(iter(o.state.values()))["step"]))
    )
    resumed.load_state_dict(saved)
    assert resumed.param_groups[0]["lr"] == 5e-3
    assert seen == [2.0]
    resumed.load_state_dict(saved)
    assert seen == [2.0, 2.0]


@ours
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(
    make: Callable[..., torch.optim.Optimizer],
) -> None:
    names = [(name, parameter) for name, parameter in small().named_parameters()]
    optimizer = make(names, lr=1e-2)
    before = through_a_file(optimizer.state_dict())
    foreign_model = small()
    foreign = torch.optim.AdamW(foreign_model.named_parameters(), lr=3.0)
    train(foreign_model, foreign, 0, 1)
    with pytest.raises(ValueError, match=r"of parameter '[a-z.]+' (has shape \(5, 7\), but|lacks)"):
        optimizer.load_state_dict(through_a_file(foreign.state_dict()))
    out_of_range = copy.deepcopy(before)
    out_of_range["param_groups"][0]["scale"] = -1.0
    with pytest.raises(ValueError, match=r"scale must be greater than 0, got -1\.0"):
        optimizer.load_state_dict(out_of_range)
    lacking = copy.deepcopy(before)
    del lacking["state"][2]["step"]
    with pytest.raises(ValueError, match=r"parameter 'mlp.weight' lacks 'step'"):
        optimizer.load_state_dict(lacking)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for key, entry in after["state"].items():
        assert all(torch.equal(value, before["state"][key][name]) for name, value in entry.items())


@ours
def test_a_weight_thawed_later_gets_its_state_then(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = small()
    model.mlp.weight.requires_grad_(False)
    optimizer = make(model.parameters(), lr=1e-2)
    assert model.mlp.weight not in optimizer.state
    train(model, optimizer, 0, 2)
    model.mlp.weight.requires_grad_(True)
    before = weights(model)[1]
    train(model, optimizer, 2, 3)
    assert float(optimizer.state[model.mlp.weight]["step"]) == 1
    assert not torch.equal(model.mlp.weight, before)
