from __future__ import annotations

import pytest
import torch

from graftwork import Direction
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.topology import ring
from graftwork_decentral.trainers.agent_metrics import mean_and_worst, recorded_over_agents

AGENTS = StackedCommunicator(ring(3))


@pytest.mark.parametrize(("better", "worst"), [("lower", 5.0), ("higher", 1.0)])
@pytest.mark.parametrize("metric", ["mse", "loss", "accuracy", "wrong_label_auc"])
def test_which_agent_is_worst_is_said_and_not_guessed(metric: str, better: Direction, worst: float) -> None:
    own = [{metric: value} for value in (1.0, 3.0, 5.0)]
    found = mean_and_worst(own, AGENTS, {metric: better})
    assert found == {f"mean_agent_{metric}": 3.0, f"worst_agent_{metric}": worst}


def test_a_metric_without_direction_has_no_worst_agent() -> None:
    own = [{"loss": 1.0, "share": 0.5}] * 3
    found = mean_and_worst(own, AGENTS, {"loss": "lower", "never_recorded": "higher"})
    assert found == {"mean_agent_loss": 1.0, "mean_agent_share": 0.5, "worst_agent_loss": 1.0}


def test_what_is_not_finite_in_one_agent_is_seen() -> None:
    own = [{"loss": 1.0}, {"loss": float("nan")}, {"loss": 2.0}]
    found = mean_and_worst(own, AGENTS, {"loss": "lower"})
    assert torch.tensor([found["mean_agent_loss"], found["worst_agent_loss"]]).isnan().all()


def test_a_run_says_the_task_first_and_agents_on_held_out_data_alone() -> None:
    said = recorded_over_agents({"accuracy": "higher", "loss": "lower"})["metric_directions"]
    assert said == {
        "validation/accuracy": "higher",
        "validation/loss": "lower",
        "train/accuracy": "higher",
        "train/loss": "lower",
        "validation/worst_agent_accuracy": "higher",
        "validation/mean_agent_accuracy": "higher",
        "validation/worst_agent_loss": "lower",
        "validation/mean_agent_loss": "lower",
    }
    assert next(iter(said)) == "validation/accuracy"
