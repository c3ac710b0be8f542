"""Groups as users change them by hand, and what saving does not change."""

from __future__ import annotations

import gc
import io
import weakref
from collections.abc import Callable
from contextlib import redirect_stderr

import numpy as np
import pytest
import torch
from torch import nn

from graftwork_optim_core import NSGDC, GaLoreAdamW, GWTAdamW, TwoRateAdamW

MAKERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "gwt": lambda groups: GWTAdamW(groups, lr=0.1),
    "galore": lambda groups: GaLoreAdamW(groups, lr=0.1, rank=2),
    "two-rate": lambda groups: TwoRateAdamW(groups, lr=0.1),
    "nsgdc": lambda groups: NSGDC(groups, lr=0.1),
}


def weights(count: int = 3) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(8, 8, generator=generator)) for _ in range(count)]


def steps(optimizer: torch.optim.Optimizer, made: list[nn.Parameter], count: int = 2) -> None:
    for number in range(count):
        for weight in made:
            weight.grad = torch.full_like(weight, 0.1 + number) + torch.eye(8, dtype=weight.dtype)
        optimizer.step()


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., torch.optim.Optimizer]:
    def quiet(groups: list[dict[str, object]]) -> torch.optim.Optimizer:
        with redirect_stderr(io.StringIO()):
            return MAKERS[request.param](groups)

    return quiet


def test_saving_while_weights_are_cast_changes_no_state(make: Callable[..., torch.optim.Optimizer]) -> None:
    (weight,) = made = weights(1)
    optimizer = make([{"params": made}])
    steps(optimizer, made)
    kept = {key: value.clone() for key, value in optimizer.state[weight].items() if torch.is_tensor(value)}
    whole = weight.data
    for dtype in (torch.bfloat16, torch.float16):
        weight.data = whole.to(dtype)
        optimizer.state_dict()
        weight.data = whole
    for key, value in kept.items():
        assert value.dtype == optimizer.state[weight][key].dtype
        assert torch.equal(value, optimizer.state[weight][key])


NOTES_OF_OTHERS = {
    "timm": {"lr_scale": 0.5, "weight_decay": 0.0, "param_names": ["a"]},
    "timm scheduler": {"initial_lr": 0.1, "lr_scale": 0.5},
    "BEiT": {"lr_scale": 0.5, "layer_id": 3},
    "MMEngine": {"group_name": "layer_3_decay", "param_names": ["a"], "lr_scale": 0.5},
    "DINOv2": {
        "name": "blocks.0",
        "lr_multiplier": 0.5,
        "wd_multiplier": 0.0,
        "is_last_layer": False,
        "foreach": None,
    },
    "one's own": {"tag": "head", "_mine": object},
}


@pytest.mark.parametrize("notes", NOTES_OF_OTHERS.values(), ids=list(NOTES_OF_OTHERS))
def test_notes_of_other_libraries_pass_made_and_loaded(
    make: Callable[..., torch.optim.Optimizer], notes: dict[str, object]
) -> None:
    made = weights(1)
    optimizer = make([{"params": made, **notes}])
    steps(optimizer, made)
    other = make([{"params": weights(1)}])
    other.load_state_dict(optimizer.state_dict())
    steps(other, other.param_groups[0]["params"])
    noted = {key: value for key, value in notes.items() if key not in ("param_names", "foreach")}
    assert noted.items() <= other.param_groups[0].items()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("warmup", "its options are"),
        ("use_fallback", "'plain'|its options"),
        ("weight_decy", "'weight_decay'"),
    ],
)
def test_an_unknown_key_is_refused_alike_whether_made_or_loaded(
    make: Callable[..., torch.optim.Optimizer], key: str, says: str
) -> None:
    with pytest.raises(ValueError, match=f"no option {key!r}.*({says})") as refused:
        make([{"params": weights(1), key: 1}])
    optimizer = make([{"params": weights(1)}])
    saved = optimizer.state_dict()
    saved["param_groups"][0][key] = 1
    kept = dict(optimizer.param_groups[0])
    with pytest.raises(ValueError, match="no option") as loaded:
        optimizer.load_state_dict(saved)
    assert str(loaded.value) == str(refused.value)
    assert optimizer.param_groups[0] == kept


def test_a_weight_that_was_replaced_is_let_go_of(make: Callable[..., torch.optim.Optimizer]) -> None:
    (old,) = made = weights(1)
    optimizer = make([{"params": made}])
    steps(optimizer, made)
    (new,) = weights(1)
    optimizer.state[new] = optimizer.state.pop(old)
    optimizer.param_groups[0]["params"] = [new]
    gone = weakref.ref(old)
    del old, made
    steps(optimizer, [new])
    gc.collect()
    assert gone() is None


def test_state_follows_a_model_to_another_device(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = nn.Linear(8, 8, bias=False)
    optimizer = make([{"params": list(model.parameters())}])
    steps(optimizer, list(model.parameters()))
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        model.to("meta")
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert optimizer.param_groups[0]["params"] == [model.weight]
    model.weight.grad = None
    optimizer.step()
    (made_there,) = make([{"params": [nn.Parameter(model.weight.detach())]}]).state.values()
    devices = {key: value.device.type for key, value in made_there.items()}
    assert "meta" in devices.values()
    assert {key: value.device.type for key, value in optimizer.state[model.weight].items()} == devices


@pytest.mark.parametrize(("key", "value"), [("warmup", 3), ("weight_decay", -1.0)])
def test_what_a_step_refuses_is_saved(
    make: Callable[..., torch.optim.Optimizer], key: str, value: float
) -> None:
    optimizer = make([{"params": weights(1)}])
    optimizer.param_groups[0][key] = value
    assert optimizer.state_dict()["param_groups"][0][key] == value
    with pytest.raises(ValueError, match=key):
        steps(optimizer, optimizer.param_groups[0]["params"])


def test_groups_may_be_taken_out_and_put_in_by_hand(make: Callable[..., torch.optim.Optimizer]) -> None:
    first, second, third = weights()
    optimizer = make([{"params": [first]}, {"params": [second]}, {"params": [third]}])
    steps(optimizer, [first, second, third])
    still = first.detach().clone()
    taken, *left = optimizer.param_groups
    optimizer.param_groups[:] = left
    steps(optimizer, [first, second, third])
    assert torch.equal(still, first)
    optimizer.param_groups.append(taken)
    steps(optimizer, [first, second, third])
    assert not torch.equal(still, first)


def test_arrays_in_groups_are_values_like_others(make: Callable[..., torch.optim.Optimizer]) -> None:
    made = weights(1)
    optimizer = make([{"params": made}])
    for number in range(2):
        optimizer.param_groups[0]["_mask"] = np.full(3, number)
        steps(optimizer, made, 1)
    assert made[0].isfinite().all()


def test_a_rate_that_schedulers_set_is_checked(make: Callable[..., torch.optim.Optimizer]) -> None:
    made = weights(1)
    optimizer = make([{"params": made}])
    optimizer.param_groups[0]["lr"] = 0.0
    before = made[0].detach().clone()
    steps(optimizer, made, 1)
    assert torch.equal(before, made[0])
    optimizer.param_groups[0]["lr"] = -0.1
    with pytest.raises(ValueError, match="lr must be"):
        steps(optimizer, made, 1)
