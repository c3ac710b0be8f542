"""What every optimizer must keep: everything registered, whoever registered it, and variants of ours.

Run where a plugin is installed, this suite tests the plugin's optimizers too. What they may leave out
(``foreach``, say) is asked of their signatures.

Reached from here: ``common/groups.py``, ``common/loading.py``, ``common/optimizer.py``,
``common/parameters.py``, ``common/ranges.py``.
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

STEPS = 12
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
# For what no option of a class could change: every class once.
PLAIN = [name for name in OPTIMIZERS if name not in VARIANTS]
once = pytest.mark.parametrize("make", [OPTIMIZERS[name] for name in PLAIN], ids=PLAIN)
OURS_PLAIN = [name for name in PLAIN if name in OURS]
ours_once = pytest.mark.parametrize("make", [OURS[name] for name in OURS_PLAIN], ids=OURS_PLAIN)
# Every class in both; its variants in the dtype in which roundings must be the same again too.
in_dtypes = pytest.mark.parametrize(
    ("make", "dtype"),
    [
        pytest.param(make, dtype, id=f"{name}-{dtype}")
        for name, make in OPTIMIZERS.items()
        for dtype in (torch.float32, torch.bfloat16)
        if dtype == torch.bfloat16 or name not in VARIANTS
    ],
)
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


@once
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


@in_dtypes
def test_p6_resuming_at_every_step_is_exact(make: Make, dtype: torch.dtype) -> None:
    model = small(dtype)
    optimizer = make(model.parameters(), lr=1e-2)
    snapshots, passed = [], [weights(model)]
    for step in range(STEPS):
        snapshots.append((copy.deepcopy(model.state_dict()), through_a_file(optimizer.state_dict())))
        train(model, optimizer, step, step + 1)
        passed.append(weights(model))
    # Two periods of the refreshes, and the change to random bases between them; what is run in both dtypes
    # resumes from the even steps in one and from the odd ones in the other.
    first, every = (0, 1) if name_of(make) in VARIANTS else (int(dtype == torch.bfloat16), 2)
    for step in range(first, 8, every):
        model_state, optimizer_state = snapshots[step]
        resumed = small(dtype)
        resumed.load_state_dict(model_state)
        resumed_optimizer = make(resumed.parameters(), lr=5.0)
        resumed_optimizer.load_state_dict(optimizer_state)
        # What is not saved would show by the next refresh, which is at every fourth step.
        until = step + 5
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


@in_dtypes
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


@ours_once
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


@once
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


@once
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


@once
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


@ours_once
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


@ours_once
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


@ours_once
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


@ours_once
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


# For every option that is a number, or none, or a word: one value and another, which a step must tell apart.
LIVE: dict[str, tuple[Any, Any]] = {
    "lr": (0.0, 2e-2),
    "momentum": (0.0, 0.8),
    "betas": ((0.0, 0.0), (0.8, 0.9)),
    "beta1": (None, 0.8),
    "dampening": (0.0, 0.5),
    "eps": (1e-3, 1e-2),
    "weight_decay": (0.0, 0.2),
    "coupled_weight_decay": (0.0, 0.2),
    "norm_growth_limit": (None, 1.001),
    "clip": (None, 1e-2),
    "norm": ("global", "per_tensor"),
    "maximize": (False, True),
    "probes": (1, 2),
    "refresh_every": (4, 3),
    "interval": (4, 3),
}
SCALES = {True: (0.5, 2.0), False: ("paper", "reference")}


class Two(nn.Module):
    """A matrix and a vector."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.layer = nn.Linear(7, 6)

    def loss(self, step: int) -> Tensor:
        inputs = torch.randn(3, 7, generator=torch.Generator().manual_seed(step))
        output: Tensor = self.layer(inputs.to(self.layer.weight.dtype))
        return (output - step).square().mean().float()


def steps(model: Two, optimizer: Any, *numbers: int) -> list[Tensor]:
    for number in numbers:
        take_step(optimizer, partial(model.loss, number))
    return weights(model)


def options_of(make: Make) -> dict[str, tuple[Any, Any]]:
    group = make(Two().parameters()).param_groups[0]
    scale = {"scale": SCALES[isinstance(group["scale"], float)]} if "scale" in group else {}
    return {**{key: values for key, values in LIVE.items() if key in group}, **scale}


@ours
def test_options_changed_between_steps_hold_from_the_next_and_survive_a_checkpoint(make: Make) -> None:
    for key, (off, on) in options_of(make).items():
        model = Two()
        optimizer = make([{"params": list(model.parameters()), key: off}], lr=1e-2)
        before = {name: set(state) for name, state in enumerate(optimizer.state.values())}
        steps(model, optimizer, 0)
        unchanged, unchanged_optimizer = copy.deepcopy((model, optimizer))
        optimizer.param_groups[0][key] = on
        switched = through_a_file(optimizer.state_dict()), copy.deepcopy(model.state_dict())
        reached = steps(model, optimizer, 1, 2)
        resumed = Two()
        resumed_optimizer = make(resumed.parameters(), lr=5.0)
        for state, values, numbers in (
            (*switched, (1, 2)),
            (through_a_file(optimizer.state_dict()), copy.deepcopy(model.state_dict()), (3, 4)),
        ):
            resumed.load_state_dict(values)
            resumed_optimizer.load_state_dict(state)
            reached = steps(model, optimizer, *numbers) if numbers[0] == 3 else reached
            assert_equal(steps(resumed, resumed_optimizer, *numbers), reached)
        if key == "norm_growth_limit":
            assert any(float(state.get("previous_norm", 0)) > 0 for state in optimizer.state.values())
        elif key not in ("refresh_every", "interval") and on != "reference":
            steps(unchanged, unchanged_optimizer, 1, 2, 3, 4)
            for one in (unchanged_optimizer, resumed_optimizer):
                written_out(one)
            assert not torch.equal(weights(resumed)[0], weights(unchanged)[0]), key
            written_out(optimizer)
        optimizer.param_groups[0][key] = resumed_optimizer.param_groups[0][key] = off
        assert_equal(steps(resumed, resumed_optimizer, 7), steps(model, optimizer, 7))
        assert {name: set(state) for name, state in enumerate(optimizer.state.values())} == before, key


@ours
def test_what_cannot_change_any_more_is_refused_and_a_bad_value_as_at_first(make: Make) -> None:
    model = Two()
    optimizer = make(model.parameters(), lr=1e-2)
    group, start = optimizer.param_groups[0], steps(model, optimizer, 0)
    fixed = {
        "host": "msgd" if group.get("host") == "muon" else "muon",
        "transform": "rsvd" if group.get("transform") == "random" else "random",
        "plain": True,
        "level": 3,
        "basis": "db4",
        "rank": 2,
        "side": "right",
        "backend": "dual",
        "additive": True,
        "previous": "recompute",
    }
    others = {"lr": -1.0, "weight_decay": float("nan"), "mometum": 0.9, "learning_rate": 1e-3}
    for key, value in {**{key: fixed[key] for key in fixed if key in group}, **others}.items():
        former = dict(group)
        group[key] = value
        with pytest.raises(ValueError, match=f"^{key} of parameter group 0 must stay|{key}( must be|')"):
            steps(model, optimizer, 1)
        group.clear()
        group.update(former)
    assert_equal(weights(model), start)
    steps(model, optimizer, 1)


@ours
def test_unknown_keys_of_a_group_are_refused_and_those_of_torch_are_not(make: Make) -> None:
    model, later = Two(), nn.Parameter(torch.zeros(6, 7))
    with pytest.raises(ValueError, match="has no option 'learning_rate', did you mean 'lr'"):
        make([{"params": model.parameters(), "learning_rate": 1e-3}])
    known = {"name": "layers", "initial_lr": 1e-2, "max_lr": 1.0, "min_lr": 0.0, "capturable": False}
    optimizer = make([{"params": list(model.parameters()), **known, "base_momentum": 0.8}], lr=1e-2)
    with pytest.raises(ValueError, match="has no option 'weight_decy', did you mean 'weight_decay'"):
        optimizer.add_param_group({"params": [later], "weight_decy": 0.1})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [later], "name": "later"})


@ours
def test_one_cycle_of_learning_rate_and_momentum_resumes_exactly(make: Make) -> None:
    model = Two()
    optimizer = make(model.parameters(), lr=1e-2)
    if not {"momentum", "betas"} & optimizer.defaults.keys():
        pytest.skip("has no momentum to cycle")
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=8)
    for number in range(3):
        steps(model, optimizer, number)
        scheduler.step()
    resumed = Two()
    resumed.load_state_dict(model.state_dict())
    resumed_optimizer = make(resumed.parameters(), lr=1e-2)
    resumed_scheduler = torch.optim.lr_scheduler.OneCycleLR(resumed_optimizer, 1e-2, total_steps=8)
    resumed_optimizer.load_state_dict(through_a_file(optimizer.state_dict()))
    resumed_scheduler.load_state_dict(scheduler.state_dict())
    for number in range(3, 6):
        assert_equal(steps(model, optimizer, number), steps(resumed, resumed_optimizer, number))
        scheduler.step()
        resumed_scheduler.step()


@ours
def test_a_learning_rate_in_a_tensor_is_checked_and_steps_as_the_number_does(make: Make) -> None:
    for dtype in (torch.float32, torch.float64):
        for shape in ((), (1,)):
            rate = torch.full(shape, 1e-2, dtype=dtype)
            finals = []
            for lr in (rate, rate.item()):
                model = Two()
                finals.append(steps(model, make(model.parameters(), lr=lr), 0, 1, 2))
            assert_equal(*finals)
    for bad in ([-1.0], [float("nan")], [float("inf")], [0.1, 0.1], [True]):
        with pytest.raises(ValueError, match="lr must be"):
            make(Two().parameters(), lr=torch.tensor(bad))
    rate, model = torch.tensor(1e-2), Two()
    optimizer = make(model.parameters(), lr=rate)
    rate.fill_(float("nan"))
    with pytest.raises(ValueError, match="lr must be 0 or more, got nan"):
        steps(model, optimizer, 0)


@ours
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_model_that_is_cast_later_trains_as_if_it_had_been_before(make: Make, dtype: torch.dtype) -> None:
    early, late = Two().to(dtype), Two()
    late_optimizer = make(late.parameters(), lr=1e-2)
    trained, trained_optimizer = copy.deepcopy((late, late_optimizer))
    steps(trained, trained_optimizer, 0, 1)
    for model in (late, trained):
        model.to(dtype)
    if dtype == torch.float16 and hasattr(late_optimizer, "step_parameter"):
        for refused in (lambda: make(early.parameters()), partial(steps, late, late_optimizer, 0)):
            with pytest.raises(ValueError, match="float16, too narrow"):
                refused()
        return
    early_optimizer = make(early.parameters(), lr=1e-2)
    assert_equal(steps(late, late_optimizer, 0, 1, 2), steps(early, early_optimizer, 0, 1, 2))
    held = [[value.dtype for value in state.values()] for state in late_optimizer.state.values()]
    assert held == [[value.dtype for value in state.values()] for state in early_optimizer.state.values()]
    assert all(torch.isfinite(weight).all() for weight in steps(trained, trained_optimizer, 2, 3))
    resumed = copy.deepcopy(trained)
    resumed_optimizer = make(resumed.parameters(), lr=1e-2)
    resumed_optimizer.load_state_dict(copy.deepcopy(trained_optimizer.state_dict()))
    assert_equal(steps(trained, trained_optimizer, 4, 5), steps(resumed, resumed_optimizer, 4, 5))


@ours
def test_gradients_that_stay_zero_move_less_and_less(make: Make) -> None:
    if getattr(make.func, "closure", None) == "loss":  # type: ignore[attr-defined]
        pytest.skip("moves by slopes, which then are zero")
    model = Two()
    parameters = list(model.parameters())
    forgetful = {"momentum": 0.4, "betas": (0.4, 0.4), "beta1": 0.4}
    known = {key: value for key, value in forgetful.items() if key in options_of(make)}
    optimizer = make([{"params": parameters, **known}], lr=1e-2)
    gradients = {parameter: torch.randn_like(parameter) for parameter in parameters}
    none = {parameter: torch.zeros_like(parameter) for parameter in parameters}
    moves, former = [], weights(model)
    for number in range(100):
        take_step(optimizer, inner_product(none if number else gradients))
        present = weights(model)
        moves.append(max(float((one - two).norm()) for one, two in zip(present, former, strict=True)))
        former = present
    assert all(torch.isfinite(weight).all() for weight in former)
    assert max(moves[1:]) <= 1.1 * max(moves[0], 1e-2)
    assert moves[-1] <= max(moves[:3])
