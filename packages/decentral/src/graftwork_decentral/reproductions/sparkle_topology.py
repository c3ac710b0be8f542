"""Which level's graph matters: rings of different weights for one level, a fixed ring for the other."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Literal

from graftwork import Finding
from graftwork_decentral.bilevel import methods
from graftwork_decentral.bilevel.quadratic import Quadratic
from graftwork_decentral.reproductions.sparkle_hyper_cleaning import AGENTS, EARLY, clean
from graftwork_decentral.reproductions.sparkle_problem_q import descend
from graftwork_decentral.reproductions.sparkle_variants import Variant
from graftwork_decentral.topology import ring

Varied = Literal["lower and auxiliary", "upper"]
SELF_WEIGHTS = (0.5, 0.8, 0.9, 0.95, 0.98)
_PAIRS = {
    "EXTRA": ("extra", "extra"),
    "EXTRA-GT": ("extra", "gt-semi-atc"),
    "ED": ("exact-diffusion", "exact-diffusion"),
}
_VARIED: tuple[Varied, ...] = ("lower and auxiliary", "upper")
_REACHED = 1e-10


@dataclass(frozen=True, slots=True)
class TopologyPoint:
    """One setting of the study."""

    pair: str
    varied: Varied
    gap: float
    steps_to_solve: int | None
    worst_accuracy: float


def submit_topologies(pool: Executor, seed: int, steps: int) -> list[Future[TopologyPoint]]:
    """Have every pair of strategies run with every ring at one level, one that keeps half at the other.

    Args:
        pool: takes the runs.
        seed: of the draws.
        steps: that problem Q is given at most.
    """
    return [
        pool.submit(topology_point, pair, varied, weight, seed, steps)
        for pair in _PAIRS
        for varied in _VARIED
        for weight in SELF_WEIGHTS
    ]


def topology_point(pair: str, varied: Varied, self_weight: float, seed: int, steps: int) -> TopologyPoint:
    """Run one pair of strategies on both problems.

    Args:
        pair: of strategies, by name.
        varied: which level has the other ring.
        self_weight: of that ring.
        seed: of the draws.
        steps: that problem Q is given at most.
    """
    fixed, other = ring(AGENTS, self_weight=0.5), ring(AGENTS, self_weight=self_weight)
    lower, upper = _PAIRS[pair]
    build = partial(
        methods.sparkle,
        lower=lower,
        upper=upper,
        lower_graph=fixed if varied == "upper" else other,
        upper_graph=other if varied == "upper" else fixed,
    )
    variant = Variant(pair, build, "black")
    curve = descend(variant, fixed, times=4, steps=steps, problem=Quadratic(seed=seed))
    reached = [step for step, error in zip(curve.steps, curve.errors, strict=True) if error < _REACHED]
    worst = clean(variant, seed, EARLY).moments[-1].worst
    return TopologyPoint(pair, varied, other.gap, min(reached, default=None), worst)


def findings_of(points: list[TopologyPoint], steps: int) -> list[Finding]:
    """Return how much slower, and how much worse early, the sparsest ring makes each level."""
    findings = []
    for pair in _PAIRS:
        for varied in _VARIED:
            own = [point for point in points if (point.pair, point.varied) == (pair, varied)]
            dense, sparse = own[0], own[-1]
            if dense.steps_to_solve is not None:
                slower = (sparse.steps_to_solve or steps) / dense.steps_to_solve
                bound = "" if sparse.steps_to_solve else f"at least; not reached in {steps} steps; "
                findings.append(
                    Finding(
                        f"problem Q, {pair}, ring of the {varied} level: steps to 1e-10, gap "
                        f"{sparse.gap:.2g} over gap {dense.gap:.2g}",
                        None,
                        slower,
                        f"{bound}published: more sensitive to the lower and auxiliary graph (no figure)",
                    )
                )
            findings.append(
                Finding(
                    f"digits, {pair}, ring of the {varied} level: worst agent's accuracy at step {EARLY}, "
                    f"gap {dense.gap:.2g} less gap {sparse.gap:.2g}",
                    None,
                    dense.worst_accuracy - sparse.worst_accuracy,
                    f"from {dense.worst_accuracy:.3f} to {sparse.worst_accuracy:.3f}",
                )
            )
    return findings
