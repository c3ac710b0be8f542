"""All replicas of a run at once: no loop over agents or replicas.

State is held agents first, ``[agents, replicas, dimension]``, for one matrix product then mixes everything;
``models`` shows it as ``[replicas, agents, dimension]``. The centralized method holds one model, takes the
mean of as many noisy gradients as there are agents, and so draws the same noise as the others from the same
seed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graftwork_decentral.flatness.arrays import ArrayLike, as_float64
from graftwork_decentral.flatness.lab.problem import Problem
from graftwork_decentral.flatness.methods import Method, require_method


class Simulation:
    """Independent runs of one method from given points, all agents of a run from the same.

    Args:
        problem: what is descended.
        method: one of :data:`~graftwork_decentral.flatness.methods.METHODS`.
        starts: ``[replicas, dimension]``.
        seed: of the gradients' noise.
        heterogeneity_scales: ``[replicas]``, factors of the problem's linear terms; None for ones.

    Raises:
        ValueError: an argument is out of its range.

    >>> from graftwork_decentral.flatness.lab.landscapes import Quadratic
    >>> problem = Problem(Quadratic([[1.0]]), [[0.75, 0.25], [0.25, 0.75]], 0.1)
    >>> run = Simulation(problem, "diffusion", [[1.0], [2.0]])
    >>> run.run(1).centroids
    tensor([[0.9000],
            [1.8000]], dtype=torch.float64)
    """

    def __init__(
        self,
        problem: Problem,
        method: Method,
        starts: ArrayLike,
        *,
        seed: int = 0,
        heterogeneity_scales: ArrayLike | None = None,
    ) -> None:
        require_method(method)
        points = as_float64("starts", starts)
        dimension = problem.landscape.dimension
        if points.ndim != 2 or points.shape[1] != dimension or not len(points):
            raise ValueError(f"starts must be [replicas, {dimension}], got {list(points.shape)}")
        self.problem = problem
        self.method: Method = method
        self._weights = problem.weights()
        self._linear = problem.linear_terms()[:, None, :]
        if heterogeneity_scales is not None:
            scales = as_float64("heterogeneity_scales", heterogeneity_scales)
            if scales.shape != points.shape[:1]:
                raise ValueError(f"heterogeneity_scales must be [{len(points)}], got {list(scales.shape)}")
            self._linear = self._linear * scales[:, None]
        self._noise_factor = problem.noise_factor()
        self._generator = torch.Generator().manual_seed(seed)
        self._models = points.expand(1 if method == "centralized" else problem.agents, -1, -1).clone()

    @property
    def models(self) -> Tensor:
        """``[replicas, agents, dimension]``, one agent for the centralized method."""
        return self._models.transpose(0, 1)

    @property
    def centroids(self) -> Tensor:
        """``[replicas, dimension]``, means over agents."""
        return self._models.mean(0)

    def run(self, steps: int) -> Simulation:
        """Take steps, and return itself."""
        for _ in range(steps):
            self.step()
        return self

    def step(self) -> None:
        """Take one step of every replica."""
        models, size = self._models, self.problem.step_size
        if self.method == "diffusion":
            self._models = self._mixed(models.sub(self._gradients(models), alpha=size))
        elif self.method == "consensus":
            self._models = self._mixed(models).sub_(self._gradients(models), alpha=size)
        elif self.method == "cta-diffusion":
            mixed = self._mixed(models)
            self._models = mixed.sub(self._gradients(mixed), alpha=size)
        else:
            self._models = models.sub(self._gradients(models).mean(0, keepdim=True), alpha=size)

    def keep(self, chosen: Tensor) -> None:
        """Go on with some replicas alone, chosen by a mask ``[replicas]``."""
        self._models = self._models[:, chosen].contiguous()
        if self._linear.shape[1] != 1:
            self._linear = self._linear[:, chosen].contiguous()

    def _mixed(self, models: Tensor) -> Tensor:
        return (self._weights @ models.reshape(len(models), -1)).view_as(models)

    def _gradients(self, models: Tensor) -> Tensor:
        """Return noisy gradients, ``[agents, replicas, dimension]``."""
        gradients = self.problem.landscape.gradient(models.transpose(0, 1)).transpose(0, 1) + self._linear
        if self._noise_factor is None:
            return gradients
        shape = (self.problem.agents, *models.shape[1:])
        noise = torch.randn(shape, generator=self._generator, dtype=torch.float64)
        if self._noise_factor.shape[-1] == 1:
            noise.mul_(self._noise_factor)
        else:
            noise = noise @ self._noise_factor
        return noise.add_(gradients)
