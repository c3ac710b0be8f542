"""The trainer ``decentralized`` around a task that uses all that a task may have.

Reached from here: ``agents/measures.py``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest
import torch

from graftwork import GraftworkError

RECIPE: dict[str, Any] = {
    "task": {"name": "lines"},
    "optimizer": {"name": "plain-adamw", "lr": 0.1, "weight_decay": 0.5},
    "strategy": {"name": "gt-semi-atc"},
    "trainer": {"name": "decentralized", "agents": 3, "steps": 5, "schedule": "constant"},
}

Train = Callable[..., Any]


def test_a_run_says_directions_weight_decay_and_data(train: Train) -> None:
    environment = train(RECIPE).environment
    directions = environment["metric_directions"]
    assert list(directions)[:2] == ["validation/mse", "validation/fit"]
    assert (directions["validation/worst_agent_mse"], directions["validation/mse"]) == ("lower", "lower")
    assert directions["validation/worst_agent_fit"] == directions["validation/mean_agent_fit"] == "higher"
    assert directions["train/loss"] == "lower"
    assert not [name for name in directions if "trains" in name or "consensus" in name]
    # Of one agent: a weight decays; a bias, a norm's scale and its offset do not.
    assert environment["weight_decay"] == "0.5 on 1 tensors; none on 3"
    assert (environment["parallel"], environment["world_size"]) == ("decentralized, 3 agents", 1)
    assert (environment["data"], environment["strategy"]) == ({"lines": 8}, "gt-semi-atc")


def test_agents_are_judged_by_the_directions_of_the_task(train: Train) -> None:
    metrics = train(RECIPE).metrics
    assert metrics["validation/worst_agent_mse"] == -metrics["validation/worst_agent_fit"]
    assert metrics["validation/worst_agent_mse"] >= metrics["validation/mean_agent_mse"]
    assert {"validation/mean_agent_trains", "validation/mean_agent_loss"} <= metrics.keys()
    assert not {"validation/worst_agent_trains", "validation/worst_agent_loss"} & metrics.keys()


def test_models_are_evaluated_in_evaluation_mode_without_gradients(train: Train) -> None:
    run = train(RECIPE, trainer__evaluate_every=2)
    assert set(run.recorded("validation/trains")) == {0.0}
    assert set(run.recorded("validation/mean_agent_trains")) == {0.0}
    # And train on in training mode: the norm's statistics have moved with every batch.
    counted = [value for name, value in run.weights().items() if "num_batches_tracked" in name]
    assert [int(count) for count in counted] == [5, 5, 5]


def test_every_agents_optimizer_has_the_groups_of_the_task(train: Train) -> None:
    still = train(RECIPE, task__head_lr=0.0, trainer__steps=1).weights()
    moved = train(RECIPE, "moved", trainer__steps=1).weights()
    for agent in range(3):
        first, other = (one[f"agent-{agent:04d}.head.weight"] for one in (still, moved))
        assert not torch.equal(first, other)
    torch.manual_seed(0)
    start = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    assert torch.allclose(still["agent-0001.head.weight"], start[1].weight)


def test_artefacts_are_those_of_the_mean_over_agents(train: Train) -> None:
    run = train(RECIPE)
    written = torch.tensor(ast.literal_eval((run.folder / "artefacts" / "weights.txt").read_text()))
    agents = [run.weights()[f"agent-{agent:04d}.head.weight"] for agent in range(3)]
    torch.testing.assert_close(written, torch.stack(agents).mean(0))


def test_without_agents_one_by_one_the_mean_alone_is_evaluated(train: Train) -> None:
    metrics = train(RECIPE, trainer__evaluate_agents=False).metrics
    assert set(metrics) == {f"validation/{name}" for name in ("loss", "mse", "fit", "trains")}


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"trainer__agents": 0}, "trainer/decentralized: agents must be at least 1, got 0"),
        ({"trainer__steps": 0}, "trainer/decentralized: steps must be at least 1, got 0"),
        ({"trainer__topology": "rings"}, "no topology called 'rings', did you mean 'ring'"),
        ({"trainer__lazy": "now"}, "trainer.lazy .*: expected 'auto' or 'never', got 'now'"),
    ],
)
def test_options_of_all_groups_are_checked(train: Train, option: dict[str, Any], says: str) -> None:
    with pytest.raises(GraftworkError, match=says):
        train(RECIPE, **option)


def test_a_model_that_is_not_of_images_is_refused_before_anything_is_built(train: Train) -> None:
    images = {**RECIPE, "task": {"name": "image-classification"}, "model": {"name": "of-words"}}
    says = "model/of-words takes no image_shape and no classes, which task/image-classification supplies"
    with pytest.raises(GraftworkError, match=f"{says}; it wants vocab_size"):
        train(images)


def test_the_model_is_the_mean_over_agents(train: Train) -> None:
    run = train(RECIPE)
    agents = run.weights()
    assert not run.model.training
    for name, mean in run.model.named_parameters():
        own = [value for agent, value in agents.items() if agent.partition(".")[2] == name]
        assert len(own) == 3
        torch.testing.assert_close(mean, torch.stack(own).mean(0))
