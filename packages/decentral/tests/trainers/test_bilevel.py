"""The trainer ``bilevel``: what its runs say, and its settings as options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from graftwork import GraftworkError

RECIPE: dict[str, Any] = {
    "task": {"name": "policy-evaluation", "states": 20, "features": 3},
    "topology": {"name": "ring", "lazy": True},
    "trainer": {"name": "bilevel", "agents": 4, "steps": 4},
}

Train = Callable[..., Any]


def test_a_run_says_the_directions_of_the_problem_and_its_data(train: Train) -> None:
    run = train(RECIPE)
    directions = run.environment["metric_directions"]
    assert next(iter(directions)) == "validation/excess_loss"
    recorded = {name for name in run.metrics if name.startswith("validation/")}
    assert recorded <= directions.keys()
    assert set(directions.values()) == {"lower"}
    assert (
        run.metrics["validation/worst_agent_excess_loss"] >= run.metrics["validation/mean_agent_excess_loss"]
    )
    assert (run.environment["data"]["states"], run.environment["topology"]) == (20, "lazy ring")
    assert run.environment["parallel"] == "bilevel, 4 agents"


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ({"trainer__alpha": 0.5}, True),
        ({"trainer__order": "jacobi"}, True),
        ({"trainer__theta": 0.5}, True),
        ({"trainer__vectorize": False}, False),
        ({"trainer__hvp_mode": "reverse"}, False),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_are_options_of_the_trainer(train: Train, setting: dict[str, Any], changes: bool) -> None:
    plain, other = train(RECIPE), train(RECIPE, "other", **setting)
    losses = [run.recorded("train/loss") for run in (plain, other)]
    assert len(losses[0]) == 4
    assert (losses[1] != pytest.approx(losses[0], rel=1e-5)) == changes


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"trainer__alpha": 0.0}, "trainer/bilevel: alpha must be above 0 and finite, got 0.0"),
        ({"trainer__theta": 1.5}, "trainer/bilevel: theta must be above 0 and at most 1, got 1.5"),
        ({"trainer__order": "both"}, "trainer.order .*: expected 'gauss_seidel' or 'jacobi', got 'both'"),
        ({"trainer__agents": 0}, "trainer/bilevel: agents must be at least 1, got 0"),
        ({"trainer__clip_norm": 1.0}, "trainer/bilevel has no option 'clip_norm'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_out_of_range_is_named(train: Train, option: dict[str, Any], says: str) -> None:
    with pytest.raises(GraftworkError, match=says):
        train(RECIPE, **option)


def test_the_model_is_the_mean_over_agents_of_each_level(train: Train) -> None:
    run = train(RECIPE)
    agents = run.weights()
    assert [name for name, _ in run.model.named_parameters()] == ["lower", "upper"]
    for level, mean in run.model.named_parameters():
        own = [value for name, value in agents.items() if name.endswith(f".{level}")]
        assert len(own) == 4
        torch.testing.assert_close(mean, torch.stack(own).mean(0))
