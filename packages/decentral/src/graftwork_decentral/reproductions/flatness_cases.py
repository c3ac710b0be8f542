"""The cases of the flatness reproduction: what is computed, and the reference values it is held beside.

The reference values are this project's own earlier computation for the quadratic model and the double well of
:mod:`graftwork_decentral.flatness`; arXiv:2406.20006 gives none for these cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from graftwork_decentral import topology
from graftwork_decentral.flatness.lab import (
    DoubleWell,
    Problem,
    Quadratic,
    Simulation,
    basin_share,
    exit_times,
    simulated_excess_risk,
)
from graftwork_decentral.flatness.methods import Method
from graftwork_decentral.flatness.theory import excess_risk

COMPARED: tuple[Method, ...] = ("centralized", "diffusion", "consensus")
AGENTS = 8
QUADRATIC_STEP = 0.1
WELL_STEP = 0.02
WINDOW = (200, 1500)
LIMIT = 20_000
REFERENCE_LINE = -0.25
THRESHOLDS: dict[Method, float] = {"diffusion": 7.70, "consensus": 7.23}
BATCHES = (1.0, 4.0, 16.0, 64.0, 256.0, math.inf)
SIMULATED_BATCHES = (1.0, 16.0, 256.0)
GRAPHS = ("full", "ring", "lazy ring", "star")

BY_HAND = (
    ("1 -1 1 -1", 0.1, (0.00657895, 0.00960147, 0.02009003), (0.00125, 0.00305556, 0.01)),
    ("1 -1 1 -1", 0.01, (6.28141e-4, 6.61762e-4, 7.95253e-4), (1.25e-5, 3.05556e-5, 1e-4)),
    ("1 0 -1 0", 0.1, (0.00657895, 0.01541213, 0.02489702), (0.00125, 0.00361111, 0.0075)),
    ("1 0 -1 0", 0.01, (6.28141e-4, 7.45503e-4, 8.98137e-4), (1.25e-5, 3.61111e-5, 7.5e-5)),
)
"""Local gradients, step size, reference in the steady state and after one step, by method."""

EXITS: dict[tuple[float, float], tuple[float, float, float]] = {
    (18.0, 0.0): (1737, 168, 82),
    (18.0, 2.0): (1737, 131, 68),
    (18.0, 4.0): (1737, 71, 50),
    (14.0, 0.0): (41448, 1273, 350),
    (14.0, 2.0): (41448, 583, 232),
}
"""Reference mean exit times by noise and heterogeneity, and by method."""

SHARES: dict[tuple[float, float], tuple[float, float, float]] = {
    (6.0, 8.0): (0.638, 1.000, 1.000),
    (10.0, 4.0): (0.634, 0.945, 0.989),
    (6.0, 2.0): (0.638, 0.621, 0.617),
}
"""Reference shares of the flat well by noise and heterogeneity, and by method."""


@dataclass(frozen=True, slots=True)
class RiskRow:
    """Excess risk of one case: exact and, where it was simulated, simulated."""

    case: str
    method: Method
    graph: str
    batch_size: float
    exact: float
    reference: float | None = None
    simulated: float | None = None
    standard_error: float | None = None


@dataclass(frozen=True, slots=True)
class ExitRow:
    """Mean exit time of one method from the sharp well."""

    line: float
    sigma: float
    beta: float
    method: Method
    mean: float
    standard_error: float
    censored: float
    reference: float | None


@dataclass(frozen=True, slots=True)
class ShareRow:
    """Share of starts that end in the flat well."""

    sigma: float
    beta: float
    method: Method
    share: float
    standard_error: float
    reference: float


@dataclass(frozen=True, slots=True)
class HorizonRow:
    """Excess risk after a number of steps from the minimum."""

    steps: int
    method: Method
    exact: float
    simulated: float
    standard_error: float


def mixing_matrix(graph: str) -> Tensor:
    """Return exact Metropolis weights, ``[agents, agents]``, of a graph by name."""
    graphs = {
        "full": topology.full(AGENTS, dyadic=False),
        "ring": topology.ring(AGENTS, dyadic=False),
        "lazy ring": topology.ring(AGENTS, lazy=True, dyadic=False),
        "star": topology.star(AGENTS, dyadic=False),
    }
    return graphs[graph].mixing_matrix


@dataclass(frozen=True, slots=True)
class Bowl:
    """A drawn quadratic in five dimensions: curvatures .22 to 1.82, noise of trace 4.78."""

    hessian: Tensor
    noise: Tensor
    heterogeneity: Tensor

    @classmethod
    def drawn(cls) -> Bowl:
        """Return the case."""
        random = torch.Generator().manual_seed(7)
        directions, _ = torch.linalg.qr(torch.randn(5, 5, generator=random, dtype=torch.float64))
        hessian = directions * torch.linspace(0.22, 1.82, 5, dtype=torch.float64) @ directions.mT
        root = torch.randn(5, 5, generator=random, dtype=torch.float64)
        noise = root @ root.mT
        local = torch.randn(AGENTS, 5, generator=random, dtype=torch.float64)
        return cls(hessian, noise * 4.78 / torch.trace(noise), local - local.mean(0))

    def risk(self, method: Method, graph: str, batch_size: float, steps: int | None = None) -> float:
        """Return the exact excess risk."""
        return excess_risk(
            mixing_matrix(graph),
            self.hessian,
            self.noise,
            self.heterogeneity,
            QUADRATIC_STEP,
            batch_size,
            steps,
            method=method,
        )

    def problem(self, graph: str, batch_size: float) -> Problem:
        """Return the same for the simulator."""
        return Problem(
            Quadratic(self.hessian),
            mixing_matrix(graph),
            QUADRATIC_STEP,
            self.noise,
            self.heterogeneity,
            batch_size,
        )

    def row(
        self, case: str, method: Method, graph: str, batch_size: float, replicas: int, seed: int
    ) -> RiskRow:
        """Return the exact value, and the simulated one unless ``replicas`` is 0."""
        exact = self.risk(method, graph, batch_size)
        if not replicas:
            return RiskRow(case, method, graph, batch_size, exact)
        found = simulated_excess_risk(
            self.problem(graph, batch_size),
            method,
            torch.zeros(5),
            first=WINDOW[0],
            last=WINDOW[1],
            replicas=replicas,
            seed=seed,
        )
        return RiskRow(
            case,
            method,
            graph,
            batch_size,
            exact,
            simulated=found.value,
            standard_error=found.standard_error,
        )


def rows_by_hand() -> list[RiskRow]:
    """Return the table of four agents on a lazy ring, H = R = B = 1."""
    weights = topology.ring(4, lazy=True, dyadic=False).mixing_matrix
    rows = []
    for local, step, steady, first in BY_HAND:
        gradients = [[float(number)] for number in local.split()]
        for horizon, references in ((None, steady), (1, first)):
            for method, reference in zip(COMPARED, references, strict=True):
                exact = excess_risk(weights, [[1.0]], [[1.0]], gradients, step, 1, horizon, method=method)
                when = "steady state" if horizon is None else "after 1 step"
                case = f"b = ({local}), mu = {step}, {when}"
                rows.append(RiskRow(case, method, "lazy ring of 4", 1.0, exact, reference))
    return rows


def batch_rows(replicas: int, seed: int) -> list[RiskRow]:
    """Return the batch scan on a ring."""
    bowl = Bowl.drawn()
    return [
        bowl.row("batch scan", method, "ring", batch, replicas if batch in SIMULATED_BATCHES else 0, seed)
        for batch in BATCHES
        for method in COMPARED
    ]


def graph_rows(replicas: int, seed: int) -> list[RiskRow]:
    """Return the graph scan with single samples."""
    bowl = Bowl.drawn()
    return [
        bowl.row("graph scan", method, graph, 1.0, replicas, seed)
        for graph in GRAPHS
        for method in COMPARED[1:]
    ]


def horizon_rows(replicas: int, seed: int, last: int = 60) -> list[HorizonRow]:
    """Return excess risk after few steps from the minimum, which is how fast a method leaves it."""
    bowl, rows = Bowl.drawn(), []
    problem = bowl.problem("lazy ring", 1.0)
    for method in COMPARED:
        run = Simulation(problem, method, torch.zeros(replicas, 5), seed=seed)
        for steps in range(1, last + 1):
            run.step()
            values = problem.landscape.value(run.models).mean(1)
            error = float(values.std()) / math.sqrt(replicas)
            exact = bowl.risk(method, "lazy ring", 1.0, steps)
            rows.append(HorizonRow(steps, method, exact, float(values.mean()), error))
    return rows


def well_problem(well: DoubleWell, sigma: float, beta: float) -> Problem:
    """Return agents in the double well: J_k = J + beta cos(2 pi k / K) w."""
    angles = 2 * math.pi * torch.arange(AGENTS, dtype=torch.float64) / AGENTS
    local = beta * torch.cos(angles)[:, None]
    return Problem(well, mixing_matrix("lazy ring"), WELL_STEP, [[sigma**2]], local)


def exit_rows(well: DoubleWell, line: float, replicas: int, seed: int) -> list[ExitRow]:
    """Return mean exit times beyond a line; the centralized method does not see heterogeneity."""
    rows = []
    for (sigma, beta), references in EXITS.items():
        for method, reference in zip(COMPARED, references, strict=True):
            if method == "centralized" and beta:
                continue
            times = exit_times(
                well_problem(well, sigma, beta),
                method,
                [well.sharp_centre],
                lambda centroids: centroids[:, 0] > line,
                limit=LIMIT,
                replicas=replicas,
                seed=seed,
            )
            held_beside = reference if line == REFERENCE_LINE else None
            rows.append(
                ExitRow(
                    line, sigma, beta, method, times.mean, times.standard_error, times.censored, held_beside
                )
            )
    return rows


def share_rows(well: DoubleWell, starts: int, seed: int, steps: int = 3000) -> list[ShareRow]:
    """Return shares of uniform starts in [-2, 3] that end in the flat well."""
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(starts, 1, generator=random, dtype=torch.float64) * 5 - 2
    rows = []
    for (sigma, beta), references in SHARES.items():
        for method, reference in zip(COMPARED, references, strict=True):
            problem = well_problem(well, sigma, beta)
            found = basin_share(problem, method, points, well.in_flat_well, steps=steps, seed=seed)
            rows.append(ShareRow(sigma, beta, method, found.value, found.standard_error, reference))
    return rows
