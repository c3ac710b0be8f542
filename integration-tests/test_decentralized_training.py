"""Any task, any registered optimizer, trained by agents that exchange with neighbours only."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from graftwork import GraftworkError, build_recipe, get_registry, parse_set
from graftwork_decentral import (
    AgentBank,
    DecentralizedOptimizer,
    StackedCommunicator,
    consensus,
    diffusion,
    ring,
)
from graftwork_optim_core import LOZO

DECENTRALIZED = {
    "trainer__name": "decentralized",
    "trainer__agents": 3,
    "trainer__steps": 6,
    "task__batch_size": 4,
    "task__evaluation_tokens": 128,
}
RECIPE: dict[str, Any] = {
    "task": {"name": "lm-pretrain"},
    "model": {"name": "llama-tiny"},
    "optimizer": {"name": "adamw", "lr": 1e-3},
    "trainer": {"name": "decentralized"},
}

Train = Callable[..., Path]


@pytest.fixture
def train(
    small: Callable[..., list[str]],
    train_here: Callable[..., Path],
    shared_variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Train:
    """Train in this process and return the run's directory."""
    for name, value in shared_variables.items():
        monkeypatch.setenv(name, value)

    def run(directory: str = "run", *, resume: bool = False, **changes: Any) -> Path:
        settings = [one for one in small(**{**DECENTRALIZED, **changes}) if one != "--set"]
        resolved = build_recipe(RECIPE, overrides=[parse_set(text) for text in settings]).resolve()
        return train_here(resolved, directory, resume=resume)

    return run


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("optimizer", "strategy"),
    [
        ({"name": "sgd"}, "exact-diffusion"),
        ({"name": "sgd", "momentum": 0.9}, "extra"),
        ({"name": "adamw"}, "gt-semi-atc"),
        ({"name": "gwt-adamw"}, "gt-atc"),
        ({"name": "golore-adamw", "rank": 8}, "gt-non-atc"),
        ({"name": "nsgdc"}, "gt-semi-atc"),
        ({"name": "nsgdc"}, "diffusion"),
        ({"name": "nsgdc-vr"}, "diffusion"),
        ({"name": "lozo"}, "consensus"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_registered_optimizers_train_under_a_strategy(
    optimizer: dict[str, Any], strategy: str, train: Train
) -> None:
    run = train(
        strategy__name=strategy,
        topology__name="ring",
        **{f"optimizer__{key}": value for key, value in optimizer.items()},
    )
    result = json.loads((run / "result.json").read_text())
    assert (result["status"], result["steps"], result["agents"]) == ("finished", 6, 3)
    losses = [line["train/loss"] for line in lines(run) if "train/loss" in line]
    assert len(losses) == 6
    assert all(0 < loss < 20 for loss in losses)
    if optimizer["name"] not in ("lozo", "sgd"):
        assert losses[-1] < losses[0]
    last = lines(run)[-1]
    measured = {key for line in lines(run) for key in line}
    assert {"train/consensus_distance", "train/bytes_sent", "train/rounds"} <= measured
    for name in ("loss", "mean_agent_loss", "worst_agent_loss", "worst_agent_perplexity"):
        assert f"validation/{name}" in last
    assert last["validation/mean_agent_loss"] <= last["validation/worst_agent_loss"]


@pytest.mark.parametrize("strategy", [diffusion, consensus], ids=["diffusion", "consensus"])
def test_agents_mix_what_lozo_keeps_beside_the_weights(strategy: Any) -> None:
    inputs = torch.randn(4, 8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = []
    for backend in ("inplace", "sidepath"):
        torch.manual_seed(0)
        first = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 1)).double()
        bank = AgentBank([first, *(copy.deepcopy(first) for _ in range(3))])
        optimizer = DecentralizedOptimizer(
            bank,
            partial(lozo, backend=backend),
            strategy(),
            StackedCommunicator(ring(4, lazy=True)),
        )
        for _ in range(12):
            optimizer.step(
                [partial(agents_loss, model, own) for model, own in zip(bank.models, inputs, strict=True)]
            )
        ends.append(bank.segments[0].weights)
        assert float((ends[-1] - ends[-1].mean(0)).norm()) > 1e-6
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-8)


def lozo(model: nn.Module, backend: str) -> LOZO:
    optimizer = LOZO(
        model.named_parameters(), lr=1e-2, rank=1, interval=50, backend=backend, accumulate_dtype="float64"
    )
    optimizer.attach(model)
    return optimizer


def agents_loss(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    return (model(inputs) - inputs.square().sum(1, keepdim=True)).square().mean()


@pytest.mark.parametrize(
    ("optimizer", "strategy"),
    [
        ("adamw", "exact-diffusion"),
        ("gwt-adamw", "extra"),
        ("golore-adamw", "exact-diffusion"),
        ("nsgdc", "extra"),
    ],
)
def test_a_correction_that_the_optimizer_undoes_is_refused(
    optimizer: str, strategy: str, train: Train
) -> None:
    rank = {"optimizer__rank": 8} if optimizer == "golore-adamw" else {}
    with pytest.raises(GraftworkError, match=rf"strategy '{strategy}' around .* corrects nothing"):
        train(strategy__name=strategy, optimizer__name=optimizer, **rank)


def test_optimizers_that_move_linearly_in_another_space_are_not_refused(train: Train) -> None:
    run = train(
        strategy__name="exact-diffusion",
        optimizer__name="subspace",
        optimizer__host="msgd",
        optimizer__transform="wavelet",
        trainer__steps=2,
    )
    assert json.loads((run / "result.json").read_text())["steps"] == 2


def test_a_resumed_run_is_the_run_that_was_not_stopped(
    train: Train, assert_same_bits: Callable[..., None]
) -> None:
    settings = {
        "strategy__name": "gt-semi-atc",
        "optimizer__name": "gwt-adamw",
        "trainer__schedule": "constant",
    }
    whole = train("whole", trainer__checkpoint_every=3, **settings)
    train("halves", trainer__steps=3, **settings)
    halves = train("halves", resume=True, **settings)
    assert_same_bits(whole, halves, at_least=30)


def test_two_processes_train_the_weights_of_one_bit_for_bit(
    train: Train,
    small: Callable[..., list[str]],
    forked: Callable[..., Any],
    tmp_path: Path,
    assert_same_bits: Callable[..., None],
) -> None:
    settings = {
        "strategy__name": "gt-semi-atc",
        "topology__name": "one-peer-exponential",
        "optimizer__name": "adamw",
        "optimizer__lr": 0.01,
        # Fused, its last bits depend on the number of threads, which is another in the processes.
        "optimizer__fused": "false",
    }
    one = train("one", **settings)
    options = small(**{**DECENTRALIZED, **settings})
    ran = forked("train", "lm-pretrain", "--no-report", "--out", "two", *options, processes=2)
    assert ran.codes == {0: [0], 1: [0]}, ran.words
    assert_same_bits(one, tmp_path / "two", at_least=30)
    environment = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert (environment["world_size"], environment["parallel"]) == (2, "decentralized, 3 agents")
    for mine, theirs in zip(lines(one), lines(tmp_path / "two"), strict=True):
        assert mine["step"] == theirs["step"]
        for name in ("train/bytes_sent", "train/rounds", "train/messages_sent"):
            assert mine.get(name) == theirs.get(name)
        for name in {"train/loss", "train/consensus_distance", "validation/worst_agent_loss"} & mine.keys():
            assert mine[name] == pytest.approx(theirs[name], rel=1e-5)


def test_two_lines_of_a_recipe_make_it_decentralized(
    small: Callable[..., list[str]], here: Any, tmp_path: Path
) -> None:
    recipe = """
[task]
name = "lm-pretrain"
[model]
name = "llama-tiny"
[optimizer]
name = "adamw"
[trainer]
name = "standard"
steps = 4
"""
    changed = recipe.replace('"standard"', '"decentralized"') + "agents = 3\n"
    (tmp_path / "mine.toml").write_text(changed)
    options = [one for one in small() if "trainer." not in one]
    pairs = [part for one in options if one != "--set" for part in ("--set", one)]
    ran = here.command("train", "mine.toml", "--out", "run", *pairs)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    assert "decentralized, 3 agents" in (tmp_path / "run" / "environment.json").read_text()


@pytest.mark.parametrize("optimizer", [entry.component.name for entry in get_registry().entries("optimizer")])
def test_an_mlp_goes_with_the_default_selection_of_every_optimizer(
    optimizer: str, train_here: Callable[..., Path]
) -> None:
    digits = {
        "task": {"name": "image-classification"},
        "model": {"name": "mlp", "hidden": 16},
        "optimizer": {"name": optimizer},
        "trainer": {"name": "decentralized", "agents": 2, "steps": 2, "device": "cpu"},
    }
    run = train_here(build_recipe(digits).resolve(), optimizer, resume=False)
    environment = json.loads((run / "environment.json").read_text())
    assert environment["metric_directions"]["validation/worst_agent_accuracy"] == "higher"
    assert (run / "artefacts" / "confusion-matrix.csv").is_file()
