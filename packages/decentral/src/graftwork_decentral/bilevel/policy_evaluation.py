"""Policy evaluation with linear features: fit the value of every state to its one-step target.

A Markov chain of S states (the policy is fixed) moves by P ``[S, S]``; agent i is paid ``R_i [S, S]`` for a
transition, with noise, and knows nothing of the others' pay. With features phi ``[S, d]`` and discount
``gamma_d``::

    g_i(x, y) = 0.5 sum_s (y_s - (r_i + gamma_d phi(s')'x))^2      over one drawn transition s -> s' of each s
    f_i(x, y) = 0.5 mean_s (phi(s)'x - y_s)^2

so that y*(x) is the mean target, and the upper loss half the mean squared Bellman error. This formulation
(task as in arXiv:2411.14166, where its shape could not be established in detail) is ours; both levels are
quadratic and the solution is known::

    A = phi - gamma_d P phi,      x* = argmin |A x - mean reward|^2

A batch holds ``next_features [S, d]`` and ``reward [S]`` of drawn transitions, and ``drawn [S]``, how much
each state counts (1, or more where only some are drawn).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from graftwork_decentral.bilevel.problem import Batch


class PolicyEvaluation:
    """A drawn chain with features, and the losses of one agent.

    Args:
        agents: how many.
        states: S.
        features: d; drawn uniformly in 0..1.
        discount: ``gamma_d``, in [0, 1).
        heterogeneity: size of an agent's own mean rewards against those that all have in common.
        noise: standard deviation of a reward about its mean.
        seed: of the chain and of all transitions.

    Raises:
        ValueError: an option is out of its range.

    >>> problem = PolicyEvaluation(agents=2, states=20, features=3)
    >>> problem.upper_variables, problem.lower_variables
    (3, 20)
    """

    def __init__(
        self,
        *,
        agents: int,
        states: int = 200,
        features: int = 10,
        discount: float = 0.95,
        heterogeneity: float = 1.0,
        noise: float = 0.1,
        seed: int = 0,
    ) -> None:
        for name, value in {"agents": agents, "states": states, "features": features}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= discount < 1:
            raise ValueError(f"discount must be at least 0 and below 1, got {discount}")
        for name, size in {"heterogeneity": heterogeneity, "noise": noise}.items():
            if not 0 <= size < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {size}")
        self.agents, self.states, self.discount, self.noise, self.seed = agents, states, discount, noise, seed
        self.upper_variables, self.lower_variables = features, states
        generator = torch.Generator().manual_seed(seed)
        self.features = torch.rand(states, features, generator=generator)
        chances = torch.rand(states, states, generator=generator)
        self.transition = chances / chances.sum(1, keepdim=True)
        common = torch.rand(states, generator=generator)
        own = torch.rand(agents, states, generator=generator) - 0.5
        self.mean_reward = common + heterogeneity * own
        """By agent and state, ``[agents, S]``; the same for all next states."""

    def upper_loss(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return f of one agent, in units of reward squared."""
        return (self.features.to(x) @ x - y).square().mean() / 2

    def lower_loss(self, x: Tensor, y: Tensor, batch: Batch) -> Tensor:
        """Return g of one agent."""
        target = batch["reward"] + self.discount * (batch["next_features"] @ x)
        loss: Tensor = (batch["drawn"] * (y - target).square()).sum() / 2
        return loss

    def drawn(self, step: int, which: int, agents: Sequence[int], share: float = 1.0) -> dict[str, Tensor]:
        """Return one drawn transition of every state, or of a share of them, for some agents.

        Args:
            step: of the run.
            which: of the step's three batches.
            agents: whose.
            share: of states that are drawn.
        """
        rows = [self._drawn(step, which, agent, share) for agent in agents]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _drawn(self, step: int, which: int, agent: int, share: float) -> dict[str, Tensor]:
        drawn_from = ((self.seed * 1009 + agent) * 3 + which) * 1_000_003 + step
        generator = torch.Generator().manual_seed(drawn_from % 2**63)
        where = torch.rand(self.states, 1, generator=generator)
        following = torch.searchsorted(self._cumulative, where).clamp(max=self.states - 1)[:, 0]
        noise = self.noise * torch.randn(self.states, generator=generator)
        weight = torch.ones(self.states)
        if share < 1:
            count = max(1, round(share * self.states))
            weight = torch.zeros(self.states)
            weight[torch.randperm(self.states, generator=generator)[:count]] = self.states / count
        return {
            "next_features": self.features[following],
            "reward": self.mean_reward[agent] + noise,
            "drawn": weight,
        }

    @cached_property
    def _cumulative(self) -> Tensor:
        return self.transition.cumsum(1).contiguous()

    def bellman_error(self, x: Tensor) -> float:
        """Return half the mean squared Bellman error, which the upper loss is at y*(x)."""
        error = self._operator @ x.detach().cpu().double() - self.mean_reward.double().mean(0)
        return float(error.square().mean() / 2)

    def lower_solution(self, x: Tensor) -> Tensor:
        """Return y*(x), the mean target of every state, ``[S]`` in float64."""
        following = self.transition.double() @ (self.features.double() @ x.detach().cpu().double())
        return self.mean_reward.double().mean(0) + self.discount * following

    @cached_property
    def upper_solution(self) -> Tensor:
        """x*, ``[d]`` in float64."""
        solution: Tensor = torch.linalg.lstsq(
            self._operator, self.mean_reward.double().mean(0)[:, None]
        ).solution[:, 0]
        return solution

    @cached_property
    def _operator(self) -> Tensor:
        features = self.features.double()
        return features - self.discount * self.transition.double() @ features
