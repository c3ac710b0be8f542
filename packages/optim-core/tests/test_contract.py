"""What every optimizer must keep: everything registered, whoever registered it, and variants of ours.

Run where a plugin is installed, this suite tests the plugin's optimizers too. What they may leave out
(``foreach``, say) is asked of their signatures.

Reached from here: ``common/loading.py``, ``common/optimizer.py``, ``common/parameters.py``,
``common/ranges.py``.
"""

from __future__ import annotations

import copy
import inspect
import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from graftwork import get_registry
from graftwork_optim_core import (
    LOZO,
    LOZOM,
    NSGDC,
    GaLoreAdamW,
    GWTAdamW,
    MeZO,
    SubspaceOptimizer,
)

Make = Callable[..., Any]

STEPS = 20
LOW_RANK: dict[str, Any] = {"rank": 3, "refresh_every": 4}
# What makes an optimizer of ours do all that it can within a few steps of a small model.
OPTIONS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9},
    "galore-adamw": LOW_RANK,
    "galore-adamw8bit": {**LOW_RANK, "basis": "gram"},
    "galore-adafactor": {**LOW_RANK, "basis": "rsvd", "beta1": 0.9},
    "golore-adamw": {**LOW_RANK, "random_last": 0.5, "total_steps": STEPS},
    "golore-msgd": {**LOW_RANK, "random_last": 0.5, "total_steps": STEPS, "scale": 1.0},
    "lozo": {"rank": 1, "interval": 4},
    "lozo-m": {"rank": 1, "interval": 4},
}
# The length of a move, and one number for all weights, want other learning rates than Adam's.
RATES = {"nsgdc": 5e-2, "nsgdc-vr": 5e-2, "a-nsgdc": 5e-2, "mezo": 1e-2, "lozo": 1e-2, "lozo-m": 1e-2}


def pair(host: str, transform: str) -> Make:
    options = {} if transform == "wavelet" else LOW_RANK
    return partial(SubspaceOptimizer, host=host, transform=transform, transform_options=options)


def registered() -> dict[str, Make]:
    registry = get_registry()
    return {
        entry.component.name: partial(registry.resolve(entry), **OPTIONS.get(entry.component.name, {}))
        for entry in registry.entries("optimizer")
    }


VARIANTS: dict[str, Make] = {
    "gwt-adamw-db2": partial(GWTAdamW, basis="db2", level=1),
    "galore-adamw-full": partial(GaLoreAdamW, **LOW_RANK, side="full", basis="power", stagger=True),
    "adam-mini-random": pair("adam-mini", "random"),
    "muon-svd": pair("muon", "svd"),
    "msgd-wavelet": pair("msgd", "wavelet"),
    "adafactor-wavelet": pair("adafactor", "wavelet"),
    "adam8bit-wavelet": pair("adam8bit", "wavelet"),
    "lozo-inplace": partial(LOZO, rank=1, interval=4, backend="inplace"),
    "lozo-m-probes": partial(LOZOM, rank=1, interval=4, backend="sidepath", probes=2),
    "mezo-momentum": partial(MeZO, momentum=0.9),
    "nsgdc-clip": partial(NSGDC, clip=0.5),
    "nsgdc-per-tensor": partial(NSGDC, norm="per_tensor"),
}
OPTIMIZERS: dict[str, Make] = {**registered(), **VARIANTS}
OURS = {
    name: make
    for name, make in OPTIMIZERS.items()
    if make.func.__module__.startswith("graftwork_optim_core")  # type: ignore[attr-defined]
}
every = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
ours = pytest.mark.parametrize("make", OURS.values(), ids=OURS)
of_gradients = pytest.mark.parametrize(
    "make",
    [make for make in OPTIMIZERS.values() if getattr(make.func, "closure", None) is None],  # type: ignore[attr-defined]
    ids=[name for name, make in OPTIMIZERS.items() if getattr(make.func, "closure", None) is None],  # type: ignore[attr-defined]
)
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*fewer than two dimensions", "ignore:the two ends of a step are evaluated"
)


def name_of(make: Make) -> str:
    return next(name for name, other in OPTIMIZERS.items() if other is make)


def needs(make: Make, *options: str) -> None:
    """Skip a test of an option that the optimizer does not have."""
    missing = [option for option in options if option not in inspect.signature(make.func).parameters]  # type: ignore[attr-defined]
    if missing:
        pytest.skip(f"{name_of(make)} has no option {missing[0]}")


def take_step(optimizer: Any, loss: Callable[[], Tensor]) -> Any:
    """Make one step in the way that the optimizer's ``closure`` attribute asks for."""
    kind = getattr(optimizer, "closure", None)

    def with_gradients() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        if value.requires_grad:
            value.backward()
        return value

    if kind is None:
        with_gradients()
        return optimizer.step()
    return optimizer.step(loss if kind == "loss" else with_gradients)


def written_out(optimizer: Any) -> None:
    """Have movement that is kept beside the weights written into them."""
    if hasattr(optimizer, "merge"):
        optimizer.merge()


def inner_product(gradients: Mapping[nn.Parameter, Tensor]) -> Callable[[], Tensor]:
    """Return the loss whose gradients these are."""
    return lambda: sum(((p * g).sum() for p, g in gradients.items()), torch.zeros(()))


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
        take_step(optimizer, partial(loss_of, model, step))


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
def test_closure_is_declared_or_not_needed(make: Make) -> None:
    optimizer = make(small().parameters())
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert getattr(optimizer, "closure", None) in (None, "loss", "gradient")


@every
def test_it_trains(make: Make) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=RATES.get(name_of(make).split("-clip")[0], 1e-2))
    before = loss_of(model, 3).item()
    for _ in range(40):
        train(model, optimizer, 3, 4)
    assert loss_of(model, 3).item() < 0.8 * before


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_p6_resuming_at_every_step_is_exact(make: Make, dtype: torch.dtype) -> None:
    model = small(dtype)
    optimizer = make(model.parameters(), lr=1e-2)
    snapshots, passed = [], [weights(model)]
    for step in range(STEPS):
        snapshots.append((copy.deepcopy(model.state_dict()), through_a_file(optimizer.state_dict())))
        train(model, optimizer, step, step + 1)
        passed.append(weights(model))
    for step, (model_state, optimizer_state) in enumerate(snapshots):
        resumed = small(dtype)
        resumed.load_state_dict(model_state)
        resumed_optimizer = make(resumed.parameters(), lr=5.0)
        resumed_optimizer.load_state_dict(optimizer_state)
        # What is not saved would show by the next refresh, which is at every fourth step.
        until = min(step + 6, STEPS)
        train(resumed, resumed_optimizer, step, until)
        assert_equal(weights(resumed), passed[until])


def leaves(value: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """What a state dict holds, by the keys and places that lead there; containers that are empty too."""
    if type(value) in (dict, list, tuple) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {place: leaf for key, inner in pairs for place, leaf in leaves(inner, (*path, key)).items()}
    return {path: value}


def bits(value: Any) -> Any:
    """Something that is equal where type, dtype, shape and every bit are."""
    if isinstance(value, Tensor):
        content = value.detach().reshape(-1).contiguous().view(torch.uint8).tolist()
        return value.dtype, tuple(value.shape), content
    return type(value), repr(value)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_state_is_plain_data_and_a_fresh_optimizer_takes_it_up_to_the_bit(
    make: Make, dtype: torch.dtype
) -> None:
    # A checkpoint holds tensors in one file and all else as JSON; numpy's numbers are floats that are not.
    plain = (type(None), bool, int, float, str, torch.dtype, dict, list, tuple)
    model = small(dtype)
    optimizer = make(model.parameters(), lr=1e-2)
    for step in range(6):
        if step in (0, 1, 2, 5):
            saved = copy.deepcopy(optimizer.state_dict())
            strange = {
                place: value
                for place, value in leaves(saved).items()
                if not isinstance(value, Tensor) and type(value) not in plain
            }
            assert not strange
            fresh = make(small(dtype).parameters(), lr=5.0)
            fresh.load_state_dict(copy.deepcopy(saved))
            taken = leaves(fresh.state_dict())
            assert {place: bits(value) for place, value in taken.items()} == {
                place: bits(value) for place, value in leaves(saved).items()
            }
        train(model, optimizer, step, step + 1)


@ours
def test_taking_a_state_dict_of_a_fresh_optimizer_changes_nothing(
    make: Make,
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
    make: Make,
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


@of_gradients
def test_a_closure_runs_once_with_gradients(make: Make) -> None:
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
def test_a_step_without_the_closure_that_it_needs_says_so_and_changes_nothing(make: Make) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2)
    if getattr(optimizer, "closure", None) is None:
        pytest.skip("needs none")
    before = weights(model)
    with pytest.raises((RuntimeError, ValueError, TypeError), match="closure"):
        optimizer.step()
    assert_equal(before, weights(model))
    with torch.no_grad():
        loss = take_step(optimizer, partial(loss_of, model, 0)) if optimizer.closure == "loss" else None
    assert loss is None or float(loss.detach()) == pytest.approx(loss_of(small(), 0).item(), abs=1e-3)


@every
def test_maximize_climbs_exactly_as_it_would_descend(make: Make) -> None:
    needs(make, "maximize", "weight_decay")
    finals = []
    for sign in (1.0, -1.0):
        model = small()
        optimizer = make(model.parameters(), lr=1e-2, weight_decay=0.1, maximize=sign < 0)
        for step in range(3):
            take_step(optimizer, lambda model=model, step=step, sign=sign: sign * loss_of(model, step))
        finals.append(weights(model))
    assert_equal(*finals)


@of_gradients
def test_no_gradient_no_step(make: Make) -> None:
    needs(make, "weight_decay")
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
def test_a_tensor_learning_rate_is_read_at_every_step(make: Make) -> None:
    finals = []
    for tensor in (False, True):
        model = small(torch.float64)
        rate = torch.tensor(1e-2, dtype=torch.float64) if tensor else 1e-2
        # torch's batched step refuses a tensor that it would have to read.
        options = {"foreach": False} if tensor and name_of(make) in ("adamw", "sgd") else {}
        optimizer = make(model.parameters(), lr=rate, **options)
        train(model, optimizer, 0, 2)
        if isinstance(rate, Tensor):
            rate.mul_(0.5)
        else:
            optimizer.param_groups[0]["lr"] = 5e-3
        train(model, optimizer, 2, 4)
        finals.append(weights(model))
    for one, two in zip(*finals, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-9)


@ours
def test_a_sample_that_is_not_finite_moves_nothing_and_is_counted(make: Make) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2)
    train(model, optimizer, 0, 2)
    written_out(optimizer)
    before, state = weights(model), copy.deepcopy(optimizer.state_dict()["state"])
    take_step(optimizer, lambda: loss_of(model, 2) * torch.nan)
    written_out(optimizer)
    # Weights that are perturbed in place come back to within a rounding.
    tolerance = 1e-6 if getattr(optimizer, "closure", None) == "loss" else 0
    for one, two in zip(weights(model), before, strict=True):
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)
    for key, entry in optimizer.state_dict()["state"].items():
        kept = {"exp_avg", "exp_avg_sq", "momentum", "momentum_buffer"} & entry.keys()
        assert all(torch.equal(entry[name], state[key][name]) for name in kept)
    assert optimizer.nonfinite_skips() >= 1
    train(model, optimizer, 3, 5)
    assert all(torch.isfinite(weight).all() for weight in weights(model))


@every
def test_empty_parameters_are_left_alone(make: Make) -> None:
    empties = [nn.Parameter(torch.zeros(shape)) for shape in [(0,), (0, 4), (4, 0)]]
    full = nn.Parameter(torch.ones(2, 4))
    optimizer = make([*empties, full], lr=1e-2)
    take_step(optimizer, inner_product({p: torch.ones_like(p) for p in (*empties, full)}))
    written_out(optimizer)
    assert not torch.equal(full, torch.ones(2, 4))


@every
def test_a_group_added_later_starts_at_its_own_first_step(make: Make) -> None:
    gradient = torch.randn(4, 8)
    # Random bases follow a parameter's place, so that it must be the second in both.
    idle, alone = nn.Parameter(torch.zeros(4, 8)), nn.Parameter(torch.zeros(4, 8))
    optimizer = make([idle, alone], lr=1e-2)
    if getattr(optimizer, "closure", None) == "loss":
        pytest.skip("its random numbers follow the steps of all groups together")
    take_step(optimizer, inner_product({alone: gradient}))
    first, later = nn.Parameter(torch.zeros(4, 8)), nn.Parameter(torch.zeros(4, 8))
    optimizer = make([first], lr=1e-2)
    for _ in range(3):
        take_step(optimizer, inner_product({first: torch.randn(4, 8)}))
    optimizer.add_param_group({"params": [later]})
    # An optimizer with a second point has not been there with this parameter: it stays where it is.
    take_step(optimizer, inner_product({later: gradient}))
    assert torch.equal(later, alone)


@every
def test_foreach_agrees_with_the_loop(make: Make) -> None:
    needs(make, "foreach", "weight_decay")
    finals = []
    for foreach in (False, True):
        model = small(torch.float64)
        optimizer = make(model.parameters(), lr=1e-2, weight_decay=0.1, foreach=foreach)
        train(model, optimizer, 0, 5)
        finals.append(weights(model))
    for one, two in zip(*finals, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-13)


@every
def test_a_learning_rate_scheduler_drives_it(make: Make) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step > 0))
    before = weights(model)
    train(model, optimizer, 0, 1)
    written_out(optimizer)
    for one, two in zip(weights(model), before, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)
    scheduler.step()
    train(model, optimizer, 1, 2)
    written_out(optimizer)
    assert not torch.allclose(before[1], weights(model)[1], rtol=1e-4)


@every
def test_a_copy_goes_on_by_itself(make: Make) -> None:
    model = small()
    optimizer = make(model.parameters(), lr=1e-2)
    train(model, optimizer, 0, 3)
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    train(model, optimizer, 3, 6)
    train(twin, twin_optimizer, 3, 6)
    assert_equal(weights(model), weights(twin))
    assert repr(twin_optimizer) == repr(optimizer)


@ours
def test_sparse_and_complex_are_refused_by_name(make: Make) -> None:
    with pytest.raises(
        ValueError, match=r"'phase' must be of a real floating-point dtype, got torch.complex64"
    ):
        make([("phase", nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64)))])
    with pytest.raises(ValueError, match=r"'group 0, parameter 0' must be of a real"):
        make([nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))])
    table = nn.Embedding(5, 4, sparse=True)
    optimizer = make([("words.weight", table.weight)])
    if getattr(optimizer, "closure", None) != "loss":
        with pytest.raises(ValueError, match=r"'words.weight' has a gradient of layout torch.sparse_coo"):
            take_step(optimizer, lambda: table(torch.tensor([1])).sum())


@ours
def test_the_dtype_of_the_state_survives_loading(make: Make) -> None:
    needs(make, "state_dtype")
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
def test_hooks_of_others_run_around_loading(make: Make) -> None:
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
    make: Make,
) -> None:
    names = [(name, parameter) for name, parameter in small().named_parameters()]
    optimizer = make(names, lr=1e-2)
    before = through_a_file(optimizer.state_dict())
    if set(before["state"][0]) == {"step"}:
        pytest.skip("keeps nothing that could be another's")
    foreign_model = small()
    foreign = torch.optim.AdamW(foreign_model.named_parameters(), lr=3.0)
    train(foreign_model, foreign, 0, 1)
    with pytest.raises(ValueError, match=r"of parameter '[a-z.]+' (has shape \([\d, ]+\), but|lacks)"):
        optimizer.load_state_dict(through_a_file(foreign.state_dict()))
    out_of_range = copy.deepcopy(before)
    out_of_range["param_groups"][0]["lr"] = -1.0
    with pytest.raises(ValueError, match=r"lr must be 0 or more, got -1\.0"):
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
def test_a_weight_thawed_later_gets_its_state_then(make: Make) -> None:
    if getattr(make.func, "closure", None) == "loss":  # type: ignore[attr-defined]
        pytest.skip("takes its weights when it is made")
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
