"""Runs of Lightning's Trainer: by name, stopped and resumed, on one process and on two."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from graftwork_lightning import OptimizerByName, optimizer_for
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.strategies import FSDPStrategy
from small_runs import STEPS, STOP, LanguageModel, resumed, same, sequences, trained, trainer, weights
from torch import Tensor, nn
from torch.utils.data import DataLoader

from graftwork import GraftworkError, Kind, choose, get_registry
from graftwork.testing import write_plugin

GWT = ("gwt-adamw", {"level": 2, "report": "off"})
STRANGER = """
    import torch
    from graftwork import Component, Kind, hookimpl

    @hookimpl
    def graftwork_components():
        for name in ("signs", "guesses", "snapshots"):
            yield Component(Kind.OPTIMIZER, name, f"graftwork_stranger:{name.title()}", "for a test")

    class Signs(torch.optim.Optimizer):
        def __init__(self, params, lr: float = 1e-3, total_steps: int | None = None):
            super().__init__(params, {"lr": lr, "total_steps": total_steps})

        def step(self, closure=None):
            loss = closure()
            with torch.no_grad():
                for group in self.param_groups:
                    for weight in group["params"]:
                        weight.sub_(weight.grad.sign(), alpha=group["lr"])
            return loss

    class Guesses(Signs):
        closure = "loss"

    class Snapshots(Signs):
        closure = "gradient"
"""

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


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


# --- the runs


@pytest.mark.parametrize(
    "chosen",
    [
        GWT,
        ("adamw", {"lr": 1e-2}),
        # Its last bases are random, and which steps are the last it knows from the Trainer.
        ("golore-adamw", {"lr": 1e-2, "rank": 4, "refresh_every": 3, "report": "off"}),
    ],
    ids=lambda chosen: chosen[0],
)
def test_a_run_stopped_and_resumed_equals_the_uninterrupted_run_bit_for_bit(
    tmp_path: Path, chosen: tuple[str, dict[str, Any]]
) -> None:
    whole = trained(tmp_path / "whole", *chosen)
    stopped = trained(tmp_path / "stopped", *chosen, stop_after=STOP)
    later = resumed(tmp_path / "stopped", *chosen)
    steps = [model.trained_by.global_step for model in (whole, stopped, later)]
    assert steps == [STEPS, STOP, STEPS]
    assert len(later.losses) == 2 * (STEPS - STOP)
    assert not same(weights(stopped), weights(whole))
    assert same(weights(later), weights(whole))
    assert whole.losses[-1] < 0.8 * whole.losses[0]


def test_resuming_without_the_optimizers_state_is_another_run(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", *GWT)
    trained(tmp_path / "stopped", *GWT, stop_after=STOP)
    (path,) = (tmp_path / "stopped").glob("*.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    for state in checkpoint["optimizer_states"][0]["state"].values():
        for value in state.values():
            if isinstance(value, torch.Tensor) and value.numel() > 1:
                value.zero_()
    torch.save(checkpoint, path)
    assert not same(weights(resumed(tmp_path / "stopped", *GWT)), weights(whole))


def test_the_checkpoint_holds_tensors_and_plain_numbers_only(tmp_path: Path) -> None:
    model = trained(tmp_path, *GWT, stop_after=STOP)
    (path,) = tmp_path.glob("*.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    assert len(checkpoint["optimizer_states"][0]["state"]) == len(list(model.parameters()))
    if "weights_only" not in inspect.signature(Trainer.fit).parameters:
        pytest.skip("this Lightning's fit takes no weights_only")
    trainer(tmp_path).fit(LanguageModel(*GWT), ckpt_path=path, weights_only=True)


def test_adamw_by_name_is_torchs_own_to_the_bit(tmp_path: Path) -> None:
    class Own(LanguageModel):
        def configure_optimizers(self) -> Any:
            weights = [weight for weight in self.parameters() if weight.ndim > 1]
            others = [weight for weight in self.parameters() if weight.ndim < 2]
            return torch.optim.AdamW([{"params": weights}, {"params": others, "weight_decay": 0.0}], lr=1e-2)

    class Named(LanguageModel):
        def configure_optimizers(self) -> Any:
            return optimizer_for(self, "adamw", lr=1e-2)

    own, named = Own(), Named()
    for model in (own, named):
        trainer(tmp_path).fit(model)
    assert same(weights(named), weights(own))
    assert not same(weights(named), weights(Named()))


def test_accumulating_two_batches_is_one_of_both(tmp_path: Path) -> None:
    twice = trained(tmp_path, *GWT, max_steps=1)
    model = LanguageModel(*GWT)
    optimizer = optimizer_for(model, GWT[0], **GWT[1])
    rows = [*model.train_dataloader()][:2]
    (sum(model.training_step(batch, 0) for batch in rows) / 2).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    for name, weight in weights(model).items():
        torch.testing.assert_close(weights(twice)[name], weight, rtol=1e-4, atol=1e-5)


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
    assert (first["strategy"], first["world_size"]) == ("DDPStrategy", 2)
    assert same(first["weights"], second["weights"])
    for index, state in first["state"].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(second["state"][index][key])), key
    assert same(first["resumed"], first["weights"])
    assert same(second["resumed"], first["weights"])
    alone = trained(tmp_path / "alone", *GWT).losses
    together = [sum(pair) / 2 for pair in zip(first["losses"], second["losses"], strict=True)]
    halves = [sum(alone[start : start + 2]) / 2 for start in range(0, 2 * STEPS, 2)]
    assert together == pytest.approx(halves, rel=1e-3)


# --- what the optimizer is given


class Mixed(LightningModule):
    """Weights of every kind that decay is asked of."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(256, 16)
        self.mlp = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.batch_norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 256)
        self.by_name = OptimizerByName(name, options)

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        hidden = self.norm(self.mlp(self.embedding(batch[:, :-1])))
        logits = self.head(self.batch_norm(hidden.flatten(0, 1)))
        return nn.functional.cross_entropy(logits, batch[:, 1:].flatten())

    def configure_optimizers(self) -> Any:
        return self.by_name(self)


@pytest.mark.parametrize("name", ["adamw", "gwt-adamw"])
def test_weights_decay_by_graftworks_rule_and_end_as_in_a_bare_loop(tmp_path: Path, name: str) -> None:
    options = {"lr": 1e-2, "weight_decay": 0.1}
    options |= {"level": 1, "report": "off"} if name == "gwt-adamw" else {}
    model = Mixed(name, options)
    run = trainer(tmp_path, max_steps=5, accumulate_grad_batches=1, gradient_clip_val=None)
    run.fit(model, DataLoader(sequences(), batch_size=4))
    names = {id(weight): parameter for parameter, weight in model.named_parameters()}
    groups = run.optimizers[0].param_groups
    decay = {names[id(weight)]: group["weight_decay"] for group in groups for weight in group["params"]}
    assert decay == {
        parameter: 0.1 if parameter in ("embedding.weight", "mlp.weight", "head.weight") else 0.0
        for parameter in names.values()
    }
    alone = Mixed(name, options)
    optimizer = choose(Kind.OPTIMIZER, name, options).for_model(alone)
    for batch in sequences().split(4)[:5]:
        optimizer.zero_grad()
        alone.training_step(batch, 0).backward()
        optimizer.step()
    assert all(torch.equal(value, alone.state_dict()[key]) for key, value in model.state_dict().items())
    assert not torch.equal(alone.mlp.weight, Mixed(name, options).mlp.weight)


def test_select_parameters_makes_the_groups() -> None:
    model = LanguageModel()
    optimizer = optimizer_for(model, "gwt-adamw", level=1, match=["mlp"], exclude=["1.mlp"], report="off")
    transformed, plain = optimizer.param_groups
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert {names[id(weight)] for weight in transformed["params"]} == {
        "blocks.0.mlp.0.weight",
        "blocks.0.mlp.2.weight",
    }
    assert plain["plain"]
    assert optimizer.state[model.blocks[0].mlp[0].weight]["exp_avg"].shape == (128, 16)


@pytest.mark.usefixtures("_stranger")
def test_an_optimizer_of_strangers_trains_and_is_told_the_number_of_steps(tmp_path: Path) -> None:
    model = trained(tmp_path, "stranger:signs", {"lr": 1e-3}, max_steps=-1, max_epochs=2)
    (optimizer,) = model.trained_by.optimizers
    assert optimizer.param_groups[0]["total_steps"] == model.trained_by.global_step == 16
    assert model.losses[-1] < 0.9 * model.losses[0]
    alone = optimizer_for(nn.Linear(2, 1), "signs", total_steps=7)
    assert alone.param_groups[0]["total_steps"] == 7
    assert optimizer_for(LanguageModel(), "signs").param_groups[0]["total_steps"] is None


class Given(LanguageModel):
    """A module that is given its optimizer."""

    def __init__(self, by_name: OptimizerByName) -> None:
        super().__init__()
        self.by_name = by_name

    def configure_optimizers(self) -> Any:
        return self.by_name(self)


def command_line(folder: Path, *arguments: str) -> LightningCLI:
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    return LightningCLI(
        Given,
        run=False,
        save_config_callback=None,
        auto_configure_optimizers=False,
        trainer_defaults={
            **quiet,
            "enable_model_summary": False,
            "max_steps": 3,
            "default_root_dir": str(folder),
        },
        args=[*arguments],
    )


def test_a_lightning_cli_chooses_the_optimizer(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "model:\n  by_name:\n    name: gwt-adamw\n"
        "    options: {lr: 1e-2, level: 1, match: [mlp], report: log}\n",
        "utf-8",
    )
    cli = command_line(tmp_path, "--config", str(config))
    before = weights(cli.model)
    cli.trainer.fit(cli.model)
    (optimizer,) = cli.trainer.optimizers
    assert type(optimizer).__name__ == "GWTAdamW"
    assert [len(group["params"]) for group in optimizer.param_groups] == [4, len(before) - 4]
    assert optimizer.param_groups[0]["lr"] == 1e-2
    assert not same(weights(cli.model), before)
    exchanged = command_line(
        tmp_path, "--model.by_name.name", "adamw", "--model.by_name.options", "{lr: 0.1}"
    )
    exchanged.trainer.fit(exchanged.model)
    assert type(exchanged.trainer.optimizers[0]) is torch.optim.AdamW


def test_parameters_will_do_for_an_optimizer_that_does_not_select() -> None:
    module = nn.Linear(2, 1)
    assert OptimizerByName("adamw", {"lr": 0.5})(module.parameters()).param_groups[0]["lr"] == 0.5
    with pytest.raises(GraftworkError, match="call it with the module, not with its parameters"):
        OptimizerByName("gwt-adamw")(module.parameters())


# --- what is refused, and how


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gwt-adam", {}, "no optimizer called 'gwt-adam', did you mean 'gwt-adamw'"),
        ("gwt-adamw", {"levle": 2}, "optimizer/gwt-adamw has no option 'levle', did you mean 'level'?"),
        ("gwt-adamw", {"level": "two"}, r"optimizer\.level: expected whole number, got 'two' \(string\)"),
        ("gwt-adamw", {"match": 3}, r"optimizer\.match: expected list of string or string, got 3"),
        ("adamw", {"match": ["mlp"]}, "optimizer/adamw has no option 'match'"),
    ],
)
def test_wrong_options_are_named_before_there_is_a_module(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraftworkError, match=message):
        OptimizerByName(name, options)


def test_all_wrong_options_are_named_at_once() -> None:
    with pytest.raises(GraftworkError, match="2 mistakes") as caught:
        OptimizerByName("gwt-adamw", {"levle": 2, "scale": "x"})
    assert "levle" in str(caught.value)
    assert "optimizer.scale" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 17}, "optimizer/gwt-adamw: level must be .*, got 17"),
        ({"match": ["lstm"]}, r"optimizer/gwt-adamw: match=.*lstm.* selects no trainable weight"),
    ],
)
def test_what_only_the_weights_can_tell_is_named_before_the_first_step(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    model, run = LanguageModel("gwt-adamw", options), trainer(tmp_path)
    with pytest.raises(GraftworkError, match=message):
        run.fit(model)
    assert run.global_step == 0


def test_without_optimizers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_DISABLE", "optim-core")
    get_registry.cache_clear()
    try:
        with pytest.raises(GraftworkError, match="optimizer/gwt-adamw comes with graftwork-optim-core"):
            OptimizerByName("gwt-adamw")
    finally:
        get_registry.cache_clear()


@pytest.mark.usefixtures("_stranger")
@pytest.mark.parametrize(("name", "closure"), [("guesses", "loss"), ("snapshots", "gradient")])
def test_an_optimizer_that_needs_a_closure_is_refused(name: str, closure: str) -> None:
    with pytest.raises(GraftworkError, match=f"optimizer/{name} calls for the {closure} within its step"):
        OptimizerByName(name)


def test_a_strategy_that_flattens_weights_is_refused() -> None:
    module = nn.Module()
    module.mlp = nn.Linear(4, 2)
    object.__setattr__(module, "trainer", SimpleNamespace(strategy=FSDPStrategy()))
    with pytest.raises(GraftworkError, match="whole weights, and FSDPStrategy flattens them: use DDP"):
        optimizer_for(module, "gwt-adamw", report="off")
    assert type(optimizer_for(module, "adamw")) is torch.optim.AdamW


def test_the_examples_in_the_docstrings_run() -> None:
    result = doctest.testmod(import_module(OptimizerByName.__module__))
    assert (result.failed, result.attempted) == (0, 5)


def test_the_example_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    readme = Path(__file__).resolve().parents[1] / "README.md"
    (example,) = re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
    said = io.StringIO()
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(said):
        exec(compile(example, str(readme), "exec"), names)
    assert "tensors transformed" in said.getvalue()
    assert isinstance(names["model"], LightningModule)
    assert names["trainer"].global_step == 20
