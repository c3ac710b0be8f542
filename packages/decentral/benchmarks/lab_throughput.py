"""Replica-agent-steps a second of the flatness lab, beside a plain loop over replicas and agents in numpy.

    python packages/decentral/benchmarks/lab_throughput.py [--replicas 200] [--agents 8] [--dimension 5]
        [--steps 1500] [--loop-replicas 2] [--rounds 3]

Both run on one thread and take turns in the same run; the best round of each counts. The bar: 200 replicas x
8 agents x 5 dimensions x 1 500 steps of three methods in less than 20 s of one core. Nothing is reported if
the two disagree on a run without noise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork_decentral.flatness.lab import Problem, Quadratic, Simulation
from graftwork_decentral.flatness.methods import Method

METHODS: tuple[Method, ...] = ("centralized", "diffusion", "consensus")
BAR_SECONDS = 20.0
BAR_CASE = (200, 8, 5, 1500)
Array = NDArray[np.float64]


def problem_of(agents: int, dimension: int, noise: float) -> Problem:
    """Return agents on a ring in a quadratic."""
    eye = np.eye(agents)
    ring = (eye + np.roll(eye, 1, 1) + np.roll(eye, -1, 1)) / 3
    local = np.random.default_rng(0).normal(size=(agents, dimension))
    hessian = np.diag(np.linspace(0.22, 1.82, dimension))
    covariance = noise * (np.eye(dimension) + 0.1)
    return Problem(Quadratic(hessian), ring, 0.1, covariance, local - local.mean(0))


def lab(problem: Problem, method: Method, replicas: int, steps: int) -> Array:
    """Return final models by the lab, ``[replicas, agents, dimension]``."""
    run = Simulation(problem, method, np.ones((replicas, problem.landscape.dimension))).run(steps)
    return np.asarray(run.models.numpy())


def loop(problem: Problem, method: Method, replicas: int, steps: int) -> Array:
    """Return the same by loops, agent by agent."""
    weights, local = problem.weights().numpy(), problem.linear_terms().numpy()
    agents, dimension = local.shape
    hessian = np.diag(np.linspace(0.22, 1.82, dimension))
    factor = problem.noise_factor()
    root = np.zeros((dimension, dimension)) if factor is None else factor.numpy()
    random = np.random.default_rng(0)
    ends = []
    for _ in range(replicas):
        models = [np.ones(dimension) for _ in range(1 if method == "centralized" else agents)]
        for _ in range(steps):
            gradients = []
            for agent in range(agents):
                at = models[0] if method == "centralized" else models[agent]
                gradients.append(hessian @ at + local[agent] + random.standard_normal(dimension) @ root)
            if method == "centralized":
                models = [models[0] - problem.step_size * sum(gradients) / agents]
                continue
            adapted = [
                model - problem.step_size * slope for model, slope in zip(models, gradients, strict=True)
            ]
            sources = adapted if method == "diffusion" else models
            mixed = []
            for agent in range(agents):
                total = np.zeros(dimension)
                for other in np.nonzero(weights[agent])[0]:
                    total += weights[agent, other] * sources[other]
                mixed.append(total)
            if method == "consensus":
                mixed = [
                    model - problem.step_size * slope for model, slope in zip(mixed, gradients, strict=True)
                ]
            models = mixed
        ends.append(np.stack(models))
    return np.stack(ends)


def seconds(run: Callable[[], object]) -> float:
    """Return processor seconds of a call."""
    started = time.process_time()
    run()
    return time.process_time() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in zip(("replicas", "agents", "dimension", "steps"), BAR_CASE, strict=True):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--loop-replicas", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    case = (arguments.replicas, arguments.agents, arguments.dimension, arguments.steps)
    replicas, agents, dimension, steps = case
    silent, noisy = problem_of(agents, dimension, 0.0), problem_of(agents, dimension, 1.0)
    for method in METHODS:
        if not np.allclose(lab(silent, method, 1, 30), loop(silent, method, 1, 30), rtol=1e-10, atol=1e-12):
            raise SystemExit(f"lab and loop disagree on {method}: nothing is reported")

    looped = arguments.loop_replicas
    print(f"one thread, {agents} agents, {dimension} dimensions, {steps} steps, best of {arguments.rounds}")
    print(f"lab {replicas} replicas, loop {looped}; replica-agent-steps a second\n")
    print(f"{'':12}  {'lab':>12}  {'loop':>12}  {'ratio':>7}  lab, s")
    total = 0.0
    for method in METHODS:
        of_lab, of_loop = [], []
        for _ in range(arguments.rounds):
            of_lab.append(seconds(lambda: lab(noisy, method, replicas, steps)))  # noqa: B023
            of_loop.append(seconds(lambda: loop(noisy, method, looped, steps)))  # noqa: B023
        best = min(of_lab)
        total += best
        rates = replicas * agents * steps / best, looped * agents * steps / min(of_loop)
        print(f"{method:12}  {rates[0]:12,.0f}  {rates[1]:12,.0f}  {rates[0] / rates[1]:7.0f}  {best:.2f}")
    print(f"\nthree methods: {total:.2f} s")
    if case == BAR_CASE:
        print(f"bar: below {BAR_SECONDS:g} s: {'met' if total < BAR_SECONDS else 'MISSED'}")


if __name__ == "__main__":
    main()
