"""The log of a run: how long it is, what is rebuilt from it, and what is no log."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_optim_core.lozo import LOZO, LOZOM
from graftwork_optim_core.mezo import MeZO
from graftwork_optim_core.zeroth_order import sites
from graftwork_optim_core.zeroth_order.replay import read_log

MAKERS: dict[str, Callable[..., Any]] = {
    **{name: partial(LOZO, interval=4, backend=name) for name in ("inplace", "sidepath", "dual", "auto")},
    **{
        f"{name}-rich": partial(LOZOM, interval=3, backend=name, probes=2, weight_decay=0.3, rank=rank)
        for name, rank in (("inplace", 3), ("sidepath", 3), ("dual", 2))
    },
    "mezo": MeZO,
    "mezo-momentum": partial(MeZO, probes=2, momentum=0.5, weight_decay=0.3),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.fixture(autouse=True)
def small_weights_are_streamed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "LARGEST_HELD", 100)


class Model(nn.Module):
    def __init__(self, *, attends: bool) -> None:
        super().__init__()
        self.up, self.norm = nn.Linear(12, 18), nn.LayerNorm(18)
        self.attend = nn.MultiheadAttention(18, 2, batch_first=True) if attends else None
        self.down = nn.Linear(18, 14)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.norm(self.up(inputs))
        if self.attend is not None:
            hidden = self.attend(hidden, hidden, hidden, need_weights=False)[0]
        output: Tensor = self.down(hidden)
        return output


def model_of(dtype: torch.dtype = torch.float32, *, attends: bool = False) -> Model:
    torch.manual_seed(1)
    return Model(attends=attends).to(dtype)


def loss_of(model: nn.Module, step: int) -> Tensor:
    dtype = next(model.parameters()).dtype
    inputs = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(step)).to(dtype)
    loss = (model(inputs) - 0.1).square().mean()
    return loss if dtype == torch.float64 else loss.float()


def run(
    model: nn.Module, optimizer: Any, first: int, last: int, rate: Callable[[int], float] | None = None
) -> None:
    optimizer.attach(model)
    for step in range(first, last):
        if rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
        optimizer.step(lambda step=step: loss_of(model, step))


def assert_rebuilt(path: Path, model: nn.Module, fresh: nn.Module) -> None:
    read_log(path).replay(fresh)
    for one, two in zip(fresh.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, two)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_replaying_rebuilds_the_weights_bit_for_bit(
    make: Callable[..., Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    path, model = tmp_path / "run" / "slopes", model_of(dtype)
    optimizer = make(model.named_parameters(), log_file=path)
    run(model, optimizer, 0, 10, lambda step: 1e-2 / (1 + step // 3))
    optimizer.log.flush()
    optimizer.merge()
    assert not torch.equal(model.up.weight, model_of(dtype).up.weight)
    assert_rebuilt(path, model, model_of(dtype))


@pytest.mark.parametrize("attends", [False, True])
@pytest.mark.parametrize("backend", ["inplace", "sidepath", "auto"])
def test_replaying_knows_which_weights_were_perturbed_in_place(
    backend: Any, attends: bool, tmp_path: Path
) -> None:
    path, model = tmp_path / "slopes", model_of(attends=attends)
    groups = [
        {"params": list(model.up.named_parameters(prefix="up")), "lr": 1e-2, "weight_decay": 0.1},
        {"params": [(n, p) for n, p in model.named_parameters() if not n.startswith("up")], "momentum": 0.5},
    ]
    optimizer = LOZO(
        groups, lr=torch.tensor(3e-3), rank=3, interval=4, log_file=path, backend=backend, maximize=True
    )
    run(model, optimizer, 0, 11)
    optimizer.log.flush()
    optimizer.merge()
    assert bool(optimizer.evaluation.names_in_place()) == (attends or backend == "inplace")
    assert_rebuilt(path, model, model_of(attends=attends))


def test_a_skipped_step_is_replayed_as_none(tmp_path: Path) -> None:
    path, model = tmp_path / "slopes", model_of()
    optimizer = LOZOM(model.named_parameters(), lr=1e-2, log_file=path, interval=3)
    run(model, optimizer, 0, 3)
    optimizer.step(lambda: loss_of(model, 3) * torch.nan)
    run(model, optimizer, 4, 7)
    optimizer.log.flush()
    optimizer.merge()
    assert read_log(path).slopes.isnan().flatten().tolist() == [step == 3 for step in range(7)]
    assert_rebuilt(path, model, model_of())


@pytest.mark.parametrize(
    ("dtype", "probes", "bytes_a_step"),
    [(torch.bfloat16, 1, 4), (torch.float32, 3, 4), (torch.float64, 1, 8)],
)
def test_four_bytes_a_step(dtype: torch.dtype, probes: int, bytes_a_step: int, tmp_path: Path) -> None:
    path, model = tmp_path / "slopes", model_of(dtype)
    optimizer = LOZO(model.named_parameters(), probes=probes, log_file=path)
    run(model, optimizer, 0, 66)
    assert path.stat().st_size == 64 * bytes_a_step * probes
    optimizer.state_dict()
    assert path.stat().st_size == 66 * bytes_a_step * probes
    assert len(path.with_name(path.name + ".json").read_text()) < 2500


def test_a_part_of_a_run_is_replayed(tmp_path: Path) -> None:
    path, model = tmp_path / "slopes", model_of()
    optimizer = LOZO(model.named_parameters(), lr=1e-2, log_file=path, interval=4)
    run(model, optimizer, 0, 6)
    halfway = copy.deepcopy(model)
    optimizer.eval()
    seen = loss_of(model, 0)
    optimizer.train()
    run(model, optimizer, 6, 9)
    optimizer.log.flush()
    rebuilt = model_of()
    state = read_log(path).replay(rebuilt, 6)
    assert float(state.state[rebuilt.up.weight]["step"]) == 6
    torch.testing.assert_close(loss_of(rebuilt, 0), seen)
    assert not torch.equal(rebuilt.up.weight, halfway.up.weight)


@pytest.mark.parametrize("same_optimizer", [False, True])
def test_a_run_that_is_resumed_cuts_off_what_came_after(same_optimizer: bool, tmp_path: Path) -> None:
    path, model = tmp_path / "slopes", model_of()

    def rate(step: int) -> float:
        return 1e-2 / (1 + step)

    make = partial(LOZOM, log_file=path, interval=3)
    optimizer = make(model.named_parameters())
    run(model, optimizer, 0, 5, rate)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    run(model, optimizer, 5, 12, rate)
    optimizer.log.flush()
    assert read_log(path).slopes.shape == (12, 1)
    model.load_state_dict(saved[0])
    if not same_optimizer:
        optimizer = make(model.named_parameters())
    optimizer.load_state_dict(saved[1])
    # Another way from here on: the rates and the losses differ from those that were cut off.
    run(model, optimizer, 5, 9, lambda step: 2e-2 / (1 + step))
    optimizer.log.flush()
    assert read_log(path).slopes.shape == (9, 1)
    optimizer.merge()
    assert_rebuilt(path, model, model_of())


def test_a_new_run_begins_the_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "slopes"
    for steps in (5, 2):
        model = model_of()
        optimizer = LOZO(model.named_parameters(), log_file=path)
        run(model, optimizer, 0, steps)
        optimizer.log.flush()
    assert len(read_log(path).slopes) == 2


def test_a_log_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "slopes", model_of()
    optimizer = LOZO(model.named_parameters(), log_file=path)
    run(model, optimizer, 0, 3)
    optimizer.log.flush()
    run(model, optimizer, 3, 5)
    state = copy.deepcopy(optimizer.state_dict())
    path.write_bytes(path.read_bytes()[:12])
    resumed = LOZO(model.named_parameters(), log_file=path)
    resumed.load_state_dict(state)
    with pytest.raises(
        GraftworkError, match=r"ends at step 3, the run goes on at step 5; give the log of that run"
    ):
        run(model, resumed, 5, 6)


def test_a_last_number_that_was_half_written_does_not_count(tmp_path: Path) -> None:
    path, model = tmp_path / "slopes", model_of()
    optimizer = LOZO(model.named_parameters(), log_file=path)
    run(model, optimizer, 0, 3)
    optimizer.log.flush()
    path.write_bytes(path.read_bytes()[:-2])
    assert read_log(path).slopes.shape == (2, 1)


def test_what_is_no_log_and_other_models_are_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "slopes", model_of()
    with pytest.raises(GraftworkError, match="slopes is no log of a run"):
        read_log(path)
    optimizer = LOZO(model.named_parameters(), log_file=path)
    run(model, optimizer, 0, 2)
    optimizer.log.flush()
    with pytest.raises(GraftworkError, match=r"the model has no parameter 'up\.weight', which the log has"):
        read_log(path).replay(nn.Sequential(*(nn.Linear(2, 2) for _ in range(3))))
    wider = model_of()
    wider.up = nn.Linear(13, 18)
    with pytest.raises(GraftworkError, match=r"'up.weight' has shape \(18, 13\), in the log \(18, 12\)"):
        read_log(path).replay(wider)
    beside = path.with_name("slopes.json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), "format": 99}))
    with pytest.raises(GraftworkError, match="format must be 1, got 99"):
        read_log(path)
    beside.write_text("{")
    with pytest.raises(GraftworkError, match="is no log of a run"):
        read_log(path)


def test_weights_without_names_are_replayed_in_order(tmp_path: Path) -> None:
    path, model = tmp_path / "slopes", model_of()
    optimizer = LOZO(model.parameters(), lr=1e-2, log_file=path, backend="sidepath")
    run(model, optimizer, 0, 4)
    optimizer.log.flush()
    optimizer.merge()
    assert_rebuilt(path, model, model_of())
    with pytest.raises(GraftworkError, match="the model has 2 parameters, the log 6"):
        read_log(path).replay(nn.Linear(12, 18))
