"""Policy evaluation as a bilevel task, and as a plain one: one model of the value, from drawn transitions.

Plain, the squared Bellman error of single drawn transitions is minimized, which is biased by their variance:
a transition would have to be drawn twice from each state. The bilevel form has no such bias.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from graftwork import Direction
from graftwork_decentral.bilevel.policy_evaluation import PolicyEvaluation
from graftwork_decentral.bilevel.setup import BilevelSetup
from graftwork_decentral.draws import checked_seed

_PLAIN = 2


class PolicyEvaluationTask:
    """Fit the value of every state of a Markov chain whose rewards lie spread over agents.

    Args:
        states: of the chain.
        features: that describe a state.
        discount: of later rewards.
        heterogeneity: size of an agent's own mean rewards against those that all have in common.
        noise: standard deviation of a reward.
        batch_share: share of the states from which a transition is drawn in a step.
        seed: of the chain and the transitions.

    Raises:
        ValueError: an option is out of its range.
    """

    unit = "transitions"
    metric_directions: ClassVar[Mapping[str, Direction]] = {"loss": "lower"}

    def __init__(
        self,
        *,
        states: int = 200,
        features: int = 10,
        discount: float = 0.95,
        heterogeneity: float = 1.0,
        noise: float = 0.1,
        batch_share: float = 1.0,
        seed: int = 0,
    ) -> None:
        if not 0 < batch_share <= 1:
            raise ValueError(f"batch_share must be above 0 and at most 1, got {batch_share}")
        self._options: dict[str, Any] = {
            "states": states,
            "features": features,
            "discount": discount,
            "heterogeneity": heterogeneity,
            "noise": noise,
            "seed": seed,
        }
        checked_seed(seed)
        self._share = batch_share
        self._alone = PolicyEvaluation(agents=1, **self._options)

    def build_model(self) -> nn.Module:
        """Return the linear value function, fresh from torch's global generator."""
        return nn.Linear(self._alone.upper_variables, 1, bias=False)

    def batches(
        self, split: Literal["train", "validation"], *, rank: int, world_size: int, seed: int
    ) -> Iterable[dict[str, Tensor]]:
        """Return an agent's drawn transitions: without end, or one batch of them for validation.

        Args:
            split: train or validation.
            rank: the agent.
            world_size: how many agents.
            seed: of the transitions, with that of the task.
        """
        problem = PolicyEvaluation(agents=world_size, **self._options)
        problem.seed = self._options["seed"] + 7919 * (seed + 1) + (split == "validation")
        stream = _Transitions(problem, rank, self._share)
        return stream if split == "train" else [next(stream)]

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return half the mean squared Bellman error of drawn transitions, and no further metrics."""
        values: Tensor = model(batch["features"])[:, 0]
        following: Tensor = model(batch["next_features"])[:, 0]
        error = values - batch["reward"] - self._options["discount"] * following
        return (batch["drawn"] * error.square()).mean() / 2, {}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return ``loss``, half the mean squared Bellman error against one agent's mean rewards."""
        return {"loss": self._alone.bellman_error(next(model.parameters())[0])}

    def count(self, batch: Mapping[str, Tensor]) -> int:
        """How many transitions a batch holds."""
        return int((batch["drawn"] > 0).sum())

    def facts(self) -> dict[str, str | int | float]:
        """What the chain is, as plain data."""
        # Drawn before and after the chain's transitions, whose last bits (of a sum) may be another machine's.
        total = hashlib.sha256()
        for drawn in (self._alone.features, self._alone.mean_reward):
            total.update(drawn.numpy().tobytes())
        return {**self._options, "chain_sha256": total.hexdigest()}

    def bilevel(self, agents: int) -> BilevelSetup:
        """Return the problem with rewards spread over agents.

        Args:
            agents: how many.
        """
        problem = PolicyEvaluation(agents=agents, **self._options)
        best = problem.bellman_error(problem.upper_solution)

        def batches(step: int, some: Sequence[int]) -> tuple[Any, Any, Any]:
            three = [problem.drawn(step, which, some, self._share) for which in range(3)]
            return three[0], three[1], three[2]

        def evaluate(x: Tensor, y: Tensor) -> dict[str, float]:
            loss = problem.bellman_error(x)
            lower = y.detach().cpu().double() - problem.lower_solution(x)
            return {"loss": loss, "excess_loss": loss - best, "lower_error": float(lower.square().mean())}

        return BilevelSetup(
            problem=problem,
            upper_start=torch.zeros(problem.upper_variables),
            lower_start=torch.zeros(problem.lower_variables),
            batches=batches,
            evaluate=evaluate,
            directions=dict.fromkeys(("excess_loss", "lower_error", "loss"), "lower"),
            unit=self.unit,
            units_per_step=3 * agents * max(1, round(self._share * problem.states)),
        )


class _Transitions:
    """Without end: a drawn transition of each state, or of a share of them."""

    def __init__(self, problem: PolicyEvaluation, agent: int, share: float) -> None:
        self._problem, self._agent, self._share = problem, agent, share
        self._taken = 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self

    def __next__(self) -> dict[str, Tensor]:
        batch = self._problem.drawn(self._taken, _PLAIN, [self._agent], self._share)
        self._taken += 1
        return {"features": self._problem.features, **{name: value[0] for name, value in batch.items()}}

    def skip(self, count: int) -> None:
        """Pass over batches."""
        self._taken += count
