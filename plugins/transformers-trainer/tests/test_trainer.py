"""Runs of the real Trainer: by name, stopped and resumed, on one process and on two."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from graftwork_transformers_trainer import GraftworkTrainer
from small_runs import (
    GWT,
    STEPS,
    STOP,
    arguments,
    language_model,
    losses,
    resumed,
    same,
    sequences,
    trained,
    trainer,
    weights,
)
from torch import Tensor, nn
from transformers import Trainer

from graftwork import GraftworkError, Kind, choose, get_registry
from graftwork.testing import write_plugin

STRANGER = """
    import torch
    from graftwork import Component, Kind, hookimpl

    @hookimpl
    def graftwork_components():
        for name in ("signs", "guesses", "snapshots"):
            yield Component(Kind.OPTIMIZER, name, f"graftwork_stranger:{name.title()}", "for a test")

    class Signs(torch.optim.Optimizer):
        '''Has no weight decay, and its rate has no default.'''
        def __init__(self, params, lr: float, total_steps: int | None = None):
            super().__init__(params, {"lr": lr, "total_steps": total_steps})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for weight in group["params"]:
                    weight.sub_(weight.grad.sign(), alpha=group["lr"])

    class Guesses(Signs):
        closure = "loss"

    class Snapshots(Signs):
        closure = "gradient"
"""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def _stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write_plugin(tmp_path / "stranger", "stranger", STRANGER)
    monkeypatch.syspath_prepend(tmp_path / "stranger")
    get_registry.cache_clear()
    yield
    get_registry.cache_clear()
    sys.modules.pop("graftwork_stranger", None)


def groups_by_name(run: Trainer) -> list[tuple[set[str], dict[str, Any]]]:
    names = {id(weight): name for name, weight in run.model.named_parameters()}
    return [
        ({names[id(weight)] for weight in group["params"]}, group) for group in run.optimizer.param_groups
    ]


# --- the runs


@pytest.mark.parametrize(
    "options",
    [
        GWT,
        {"optimizer": "adamw"},
        # Its last bases are random, and which steps are the last it knows from the Trainer.
        {"optimizer": "golore-adamw", "optimizer_options": {"rank": 4, "refresh_every": 3, "report": "off"}},
    ],
    ids=lambda options: options["optimizer"],
)
def test_a_run_stopped_and_resumed_equals_the_uninterrupted_run_bit_for_bit(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = trained(tmp_path / "whole", **options)
    stopped = trained(tmp_path / "stopped", stop_after=STOP, **options)
    later = resumed(tmp_path / "stopped", **options)
    assert (whole.state.global_step, stopped.state.global_step, later.state.global_step) == (
        STEPS,
        STOP,
        STEPS,
    )
    assert not same(weights(stopped), weights(whole))
    assert same(weights(later), weights(whole))
    assert losses(later)[-1] < 0.9 * losses(whole)[0]
    assert whole.optimizer.param_groups[0]["lr"] == later.optimizer.param_groups[0]["lr"]


def test_resuming_without_the_optimizers_state_is_another_run(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", **GWT)
    trained(tmp_path / "stopped", stop_after=STOP, **GWT)
    (tmp_path / "stopped" / f"checkpoint-{STOP}" / "optimizer.pt").unlink()
    assert not same(weights(resumed(tmp_path / "stopped", **GWT)), weights(whole))


def test_the_checkpoint_holds_tensors_and_plain_numbers_only(tmp_path: Path) -> None:
    trained(tmp_path, stop_after=STOP, **GWT)
    saved = torch.load(tmp_path / f"checkpoint-{STOP}" / "optimizer.pt", weights_only=True)
    assert len(saved["state"]) == len(list(language_model().parameters()))


def test_adamw_by_name_is_the_trainers_own_to_the_bit_and_takes_its_checkpoints(tmp_path: Path) -> None:
    own = trained(tmp_path / "own", changes={"optim": "adamw_torch"})
    assert same(weights(trained(tmp_path / "named", optimizer="adamw")), weights(own))
    trained(tmp_path / "stopped", stop_after=STOP, changes={"optim": "adamw_torch"})
    assert same(weights(resumed(tmp_path / "stopped", optimizer="adamw")), weights(own))


def test_two_processes_end_alike_resume_exactly_and_match_one_process(tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = Path(__file__).with_name("two_processes.py")
    finished = subprocess.run(
        [sys.executable, *launch, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert (first["world_size"], first["wrapped"]) == (2, "DistributedDataParallel")
    assert same(first["weights"], second["weights"])
    for index, state in first["state"].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(second["state"][index][key])), key
    assert same(first["resumed"], first["weights"])
    assert same(second["resumed"], first["weights"])
    assert len(first["losses"]) == STEPS
    assert first["losses"][-1] < 0.9 * first["losses"][0]
    # Dropout draws differently in two processes, so that this is a likeness and no equality.
    alone = losses(trained(tmp_path / "alone", **GWT))
    assert first["losses"] == pytest.approx(alone, rel=0.02)


# --- what the Trainer gives the optimizer


def test_select_parameters_makes_the_groups_and_norms_do_not_decay(tmp_path: Path) -> None:
    options = {"level": 1, "match": ["mlp"], "exclude": ["down_proj"], "report": "off"}
    run = trainer(tmp_path, optimizer="gwt-adamw", optimizer_options=options)
    run.create_optimizer()
    transformed, plain, norms = groups_by_name(run)
    layers = range(2)
    assert transformed[0] == {f"model.layers.{n}.mlp.{w}_proj.weight" for n in layers for w in ("gate", "up")}
    assert not transformed[1].get("plain")
    assert {"model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight"} <= plain[0]
    assert norms[0] == {name for name, _ in run.model.named_parameters() if "norm" in name}
    assert (plain[1]["plain"], norms[1]["plain"]) == (True, True)
    assert [group["weight_decay"] for _, group in (transformed, plain, norms)] == [0.1, 0.1, 0.0]
    moments = run.optimizer.state[run.model.model.layers[0].mlp.up_proj.weight]["exp_avg"]
    assert moments.shape == (64, 16)


class Mixed(nn.Module):
    """Weights of every kind that decay is asked of."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(256, 16)
        self.mlp = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.batch_norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 256)

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        hidden = self.norm(self.mlp(self.embedding(input_ids)))
        logits = self.head(self.batch_norm(hidden.flatten(0, 1)))
        return {"loss": nn.functional.cross_entropy(logits, labels.flatten())}


@pytest.mark.parametrize("name", ["adamw", "gwt-adamw"])
def test_weights_decay_by_graftworks_rule_and_end_as_in_a_bare_loop(tmp_path: Path, name: str) -> None:
    options = {"lr": 1e-2} | ({"level": 1, "report": "off"} if name == "gwt-adamw" else {})
    rows = [sequences()[0]] * 8  # all alike, so that their order is of no account
    plain = {"lr_scheduler_type": "constant", "warmup_steps": 0, "max_grad_norm": 0.0}
    args = arguments(tmp_path, max_steps=5, gradient_accumulation_steps=1, **plain)
    run = GraftworkTrainer(Mixed(), args, train_dataset=rows, optimizer=name, optimizer_options=options)
    run.train()
    decay = {weight: group["weight_decay"] for names, group in groups_by_name(run) for weight in names}
    assert decay == {
        parameter: 0.1 if parameter in ("embedding.weight", "mlp.weight", "head.weight") else 0.0
        for parameter, _ in run.model.named_parameters()
    }
    alone = Mixed()
    optimizer = choose(Kind.OPTIMIZER, name, {**options, "weight_decay": 0.1}).for_model(alone)
    batch = {key: torch.stack([row[key] for row in rows[:4]]) for key in ("input_ids", "labels")}
    for _ in range(5):
        optimizer.zero_grad()
        alone(**batch)["loss"].backward()
        optimizer.step()
    assert all(torch.equal(value, alone.state_dict()[key]) for key, value in run.model.state_dict().items())
    assert not torch.equal(alone.mlp.weight, Mixed().mlp.weight)


def test_rate_and_decay_are_the_arguments_unless_options_say_otherwise(tmp_path: Path) -> None:
    of_arguments = trainer(tmp_path, optimizer="adamw")
    made = of_arguments.create_optimizer()
    assert {group["lr"] for group in made.param_groups} == {3e-3}
    assert of_arguments.create_optimizer() is made
    chosen = trainer(tmp_path, optimizer="adamw", optimizer_options={"lr": 0.5, "weight_decay": 0.01})
    assert [(group["lr"], group["weight_decay"]) for group in chosen.create_optimizer().param_groups] == [
        (0.5, 0.01),
        (0.5, 0.0),
    ]
    # As a search over hyperparameters does it.
    chosen.args.weight_decay = of_arguments.args.learning_rate = 0.25
    of_arguments.optimizer = None
    assert of_arguments.create_optimizer().param_groups[0]["lr"] == 0.25


@pytest.mark.usefixtures("_stranger")
def test_an_optimizer_of_strangers_trains_and_is_told_the_number_of_steps(tmp_path: Path) -> None:
    run = trainer(tmp_path, optimizer="stranger:signs", changes={"max_steps": -1, "num_train_epochs": 0.3})
    before = weights(run)
    run.train()
    (group,) = run.optimizer.param_groups
    assert run.state.max_steps >= 4
    assert group["total_steps"] == run.state.max_steps
    assert group["initial_lr"] == 3e-3
    assert not same(weights(run), before)


def test_it_goes_in_front_of_another_trainer(tmp_path: Path) -> None:
    class Counting(Trainer):
        batches = 0

        def training_step(self, *positional: Any, **named: Any) -> torch.Tensor:
            self.batches += 1
            return super().training_step(*positional, **named)

    class Both(GraftworkTrainer, Counting):
        pass

    run = Both(language_model(), arguments(tmp_path, max_steps=3), train_dataset=sequences(), **GWT)
    run.train()
    assert run.batches == 6
    assert type(run.callback_handler.optimizer.optimizer).__name__ == "GWTAdamW"


def test_a_model_made_anew_gets_an_optimizer_of_its_own(tmp_path: Path) -> None:
    run = GraftworkTrainer(
        args=arguments(tmp_path, max_steps=2),
        model_init=lambda: language_model(),
        train_dataset=sequences(),
        **GWT,
    )
    run.train()
    first = run.optimizer.optimizer
    run.train()
    assert run.optimizer.optimizer is not first
    assert set(map(id, run.model.parameters())) == {
        id(weight) for group in run.optimizer.param_groups for weight in group["params"]
    }


# --- what is refused, and how


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        ("gwt-adam", {}, "no optimizer called 'gwt-adam', did you mean 'gwt-adamw'"),
        ("gwt-adamw", {"levle": 2}, "optimizer/gwt-adamw has no option 'levle', did you mean 'level'?"),
        ("gwt-adamw", {"level": "two"}, r"optimizer\.level: expected whole number, got 'two' \(string\)"),
        ("gwt-adamw", {"match": 3}, r"optimizer\.match: expected list of string or string, got 3"),
        ("adamw", {"match": ["mlp"]}, "optimizer/adamw has no option 'match'"),
    ],
)
def test_wrong_options_are_named_before_anything_trains(
    tmp_path: Path, optimizer: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraftworkError, match=message):
        trainer(tmp_path, optimizer=optimizer, optimizer_options=options)


def test_all_wrong_options_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(GraftworkError, match="2 mistakes") as caught:
        trainer(tmp_path, optimizer="gwt-adamw", optimizer_options={"levle": 2, "scale": "x"})
    assert "levle" in str(caught.value)
    assert "optimizer.scale" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 17}, "optimizer/gwt-adamw: level must be .*, got 17"),
        ({"match": ["lstm"]}, r"optimizer/gwt-adamw: match=\('lstm',\) .* selects no trainable weight"),
    ],
)
def test_what_only_the_weights_can_tell_is_named_before_the_first_step(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    run = trainer(tmp_path, optimizer="gwt-adamw", optimizer_options=options)
    with pytest.raises(GraftworkError, match=message):
        run.train()
    assert run.state.global_step == 0


def test_without_optimizers_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_DISABLE", "optim-core")
    get_registry.cache_clear()
    try:
        with pytest.raises(GraftworkError, match="optimizer/gwt-adamw comes with graftwork-optim-core"):
            trainer(tmp_path, **GWT)
    finally:
        get_registry.cache_clear()


@pytest.mark.usefixtures("_stranger")
@pytest.mark.parametrize(("name", "closure"), [("guesses", "loss"), ("snapshots", "gradient")])
def test_an_optimizer_that_needs_a_closure_is_refused(tmp_path: Path, name: str, closure: str) -> None:
    with pytest.raises(GraftworkError, match=f"optimizer/{name} calls for the {closure} within its step"):
        trainer(tmp_path, optimizer=name)


def test_two_optimizers_at_once_are_refused(tmp_path: Path) -> None:
    model = language_model()
    second = torch.optim.SGD(model.parameters())
    with pytest.raises(GraftworkError, match="give one of them"):
        trainer(tmp_path, model=model, optimizer="adamw", optimizers=(second, None))
    with pytest.raises(GraftworkError, match="give one of them"):
        trainer(tmp_path, optimizer="adamw", optimizer_cls_and_kwargs=(torch.optim.SGD, {}))
    with pytest.raises(GraftworkError, match=r"optim_target_modules is for .* go into optimizer_options"):
        trainer(tmp_path, **GWT, changes={"optim_target_modules": ["mlp"]})


def test_sharding_after_the_state_was_made_is_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path, **GWT)
    run.is_fsdp_enabled = True
    with pytest.raises(GraftworkError, match="FSDP cuts them up afterwards: use DDP"):
        run.create_optimizer()
    late = trainer(tmp_path, optimizer="adamw")
    late.is_fsdp_enabled = True
    assert type(late.create_optimizer()) is torch.optim.AdamW


def test_the_example_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    readme = Path(__file__).resolve().parents[1] / "README.md"
    (example,) = re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(example, str(readme), "exec"), {"__name__": "__main__"})
    assert "tensors transformed" in said.getvalue()
    state = json.loads((tmp_path / "runs" / "checkpoint-20" / "trainer_state.json").read_text("utf-8"))
    assert state["global_step"] == 20
