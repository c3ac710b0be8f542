"""What a row of a study holds besides its cell, by name.

Always ``train_loss_agents`` and ``train_loss_centroid`` (J, the mean over agents of :mod:`.data`), and
``risk_over_start_agents`` (J above the common start, what leaving a minimum is measured by) where there is
one. The bottom is where a noiseless descent from the centroid ends (``bottom_loss``): flatness follows
training loss, and is compared there.

==================  =========================================================================================
measure             names
==================  =========================================================================================
excess-risk         ``excess_risk_agents``, ``excess_risk_centroid``: J less ``bottom_loss``
disagreement        ``consensus_distance`` (Tr S), ``weighted_consensus_distance`` (Tr HS, at the centroid)
hessian-trace       ``hessian_trace`` (at the centroid), ``bottom_hessian_trace``; ``..._error`` of both
top-eigenvalue      ``bottom_top_eigenvalue``
sharpness           ``bottom_sharpness`` and ``..._error``: E[J(w + s e)] - J(w)
noise               ``gradient_noise_trace`` (of one sample: that of a batch times the batch size)
heterogeneity       ``heterogeneity``: sum over agents of ||grad J_k - grad J||^2
theory              ``predicted_excess_risk`` and ``predicted_disagreement_risk`` (:mod:`.prediction`; missing
                    where the theory does not cover the run), ``disagreement_risk`` (Tr(HS)/2, measured)
validation          the task's metrics of the centroid (``validation_NAME``) and of agents
                    (``validation_mean_agent_NAME``, ``validation_worst_agent_NAME`` where the task says
                    which way a metric is better)
==================  =========================================================================================

Noise and heterogeneity are those at the bottom. Models are in evaluation mode; agents are measured with their
own buffers, the centroid with the mean of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from torch import Tensor, nn

from graftwork import Task
from graftwork_decentral.agents.measures import mean_model
from graftwork_decentral.agents.optimizer import DecentralizedOptimizer
from graftwork_decentral.flatness.estimate import Estimate
from graftwork_decentral.flatness.metrics import (
    HessianProduct,
    Objective,
    ParameterSpec,
    average_direction_sharpness,
    consensus_distance,
    hessian_trace,
    noiseless_descent,
    top_eigenvalues,
    weighted_consensus_distance,
)
from graftwork_decentral.flatness.study.data import MeasuringData, noise_objectives
from graftwork_decentral.flatness.study.prediction import Surroundings, plain_step_size, predict
from graftwork_decentral.trainers.agent_metrics import mean_and_worst
from graftwork_trainer.evaluation import evaluate
from graftwork_trainer.task_members import directions_of

Measure = Literal[
    "excess-risk",
    "disagreement",
    "hessian-trace",
    "top-eigenvalue",
    "sharpness",
    "noise",
    "heterogeneity",
    "theory",
    "validation",
]
MEASURES: tuple[Measure, ...] = get_args(Measure)
"""All of them."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much each measure may take.

    Args:
        descent_steps: of the noiseless descent to the bottom, where flatness is compared.
        descent_rate: of its first step.
        probes: products with the Hessian for its trace.
        noise_batches: batches an agent for the gradient noise, 2 or more.
        most_products: with the Hessian, for its largest eigenvalue.
        theory_products: for each of up to 2 agents - 1 vectors that the theory needs.
        sharpness_distance: at which sharpness is taken, in the norm of all parameters.
        directions: of sharpness.

    Raises:
        ValueError: an option is out of its range.
    """

    descent_steps: int = 50
    descent_rate: float = 0.1
    probes: int = 16
    noise_batches: int = 4
    most_products: int = 50
    theory_products: int = 8
    sharpness_distance: float = 1.0
    directions: int = 8

    def __post_init__(self) -> None:
        at_least = {
            "descent_steps": 0,
            "probes": 2,
            "noise_batches": 2,
            "most_products": 1,
            "theory_products": 1,
            "directions": 2,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        for name in ("descent_rate", "sharpness_distance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


class Measurement:
    """Measures of trained agents.

    Args:
        task: that they were trained on, with the batch size they were trained with.
        batch_size: that one.
        optimizer: over the agents.
        method: that trained them.
        data: to measure on.
        effort: to spend.
    """

    def __init__(
        self,
        task: Task,
        batch_size: int,
        optimizer: DecentralizedOptimizer,
        method: str,
        data: MeasuringData,
        effort: Effort,
    ) -> None:
        self._task, self._batch_size, self._method = task, batch_size, method
        self._optimizer, self._data, self._effort = optimizer, data, effort
        optimizer.eval()
        self._models = [model.eval() for model in optimizer.bank.models]
        blank = optimizer.bank.blank()
        self._centroid: nn.Module = mean_model(optimizer.bank, optimizer.communicator, blank).eval()
        self._spec = ParameterSpec.of(self._centroid)
        self._point = self._spec.flatten(self._centroid)

    def take(self, wanted: Sequence[Measure], start_loss: float | None) -> dict[str, float]:
        """Return measures by name.

        Args:
            wanted: which; those of the training loss come in any case.
            start_loss: J at the common start, where there is one.
        """
        found = {"train_loss_agents": self._loss_of_agents, "train_loss_centroid": self._loss_of_centroid}
        if start_loss is not None:
            found["risk_over_start_agents"] = self._loss_of_agents - start_loss
        for measure in MEASURES:
            if measure in wanted:
                found |= getattr(self, f"_{measure.replace('-', '_')}")()
        return found

    @cached_property
    def _loss_of_agents(self) -> float:
        return sum(map(self._data.loss, self._models)) / len(self._models)

    @cached_property
    def _loss_of_centroid(self) -> float:
        return self._data.loss(self._centroid)

    @cached_property
    def _objective(self) -> Objective:
        return self._data.objective(self._centroid)

    @cached_property
    def _bottom(self) -> tuple[Tensor, float]:
        return noiseless_descent(
            self._objective,
            self._point,
            steps=self._effort.descent_steps,
            learning_rate=self._effort.descent_rate,
        )

    def _excess_risk(self) -> dict[str, float]:
        bottom = self._bottom[1]
        return {
            "bottom_loss": bottom,
            "excess_risk_agents": self._loss_of_agents - bottom,
            "excess_risk_centroid": self._loss_of_centroid - bottom,
        }

    @cached_property
    def _weighted_distance(self) -> float:
        return weighted_consensus_distance(self._objective, self._spec.stack(self._models))

    def _disagreement(self) -> dict[str, float]:
        return {
            "consensus_distance": consensus_distance(self._spec.stack(self._models)),
            "weighted_consensus_distance": self._weighted_distance,
        }

    def _hessian_trace(self) -> dict[str, float]:
        here = hessian_trace(self._objective, self._point, probes=self._effort.probes)
        below = hessian_trace(self._objective, self._bottom[0], probes=self._effort.probes)
        return _estimate("hessian_trace", here) | _estimate("bottom_hessian_trace", below)

    def _top_eigenvalue(self) -> dict[str, float]:
        found = top_eigenvalues(
            self._objective, self._bottom[0], tolerance=1e-3, most_products=self._effort.most_products
        )
        return {"bottom_top_eigenvalue": float(found.values[0])}

    def _sharpness(self) -> dict[str, float]:
        found = average_direction_sharpness(
            self._objective,
            self._bottom[0],
            self._effort.sharpness_distance,
            directions=self._effort.directions,
        )
        return _estimate("bottom_sharpness", found)

    @cached_property
    def _surroundings(self) -> Surroundings:
        agents, draws = len(self._models), self._effort.noise_batches
        noisy = [
            noise_objectives(self._task, self._centroid, agent, agents, draws, self._point.device)
            for agent in range(agents)
        ]
        return Surroundings.at(self._bottom[0], self._data.local_objectives(self._centroid), noisy)

    def _noise(self) -> dict[str, float]:
        return {"gradient_noise_trace": self._batch_size * self._surroundings.noise}

    def _heterogeneity(self) -> dict[str, float]:
        return {"heterogeneity": self._surroundings.heterogeneity}

    def _theory(self) -> dict[str, float]:
        found = {"disagreement_risk": self._weighted_distance / 2}
        graphs = self._optimizer.communicator.graphs
        step_size = plain_step_size(self._optimizer.inners[0])
        if step_size is None or graphs.varies:
            return found
        predicted = predict(
            self._surroundings,
            HessianProduct(self._objective, self._bottom[0]),
            self._method,
            graphs.at(0).mixing_matrix,
            step_size,
            self._optimizer.rounds,
            products=self._effort.theory_products,
        )
        if predicted is not None:
            found["predicted_excess_risk"] = predicted.excess_risk
            found["predicted_disagreement_risk"] = predicted.disagreement
        return found

    def _validation(self) -> dict[str, float]:
        own = [evaluate(self._task, model) for model in self._models]
        of_agents = mean_and_worst(own, self._optimizer.communicator, directions_of(self._task))
        metrics = evaluate(self._task, self._centroid) | of_agents
        return {f"validation_{name}": value for name, value in metrics.items()}


def _estimate(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_error": estimate.standard_error}
