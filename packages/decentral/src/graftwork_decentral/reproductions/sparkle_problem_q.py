"""The quadratic problem whose solution is known: who reaches it, who stalls, and where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

import torch

from graftwork import Finding
from graftwork_decentral.bilevel.problem import BilevelSettings
from graftwork_decentral.bilevel.quadratic import Quadratic
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.reproductions import sparkle_variants as variants
from graftwork_decentral.reproductions.sparkle_variants import Variant, sparkle
from graftwork_decentral.topology import Topology, ring, star

_EVERY = 20
_UNIFORM = (
    variants.D_SOBA,
    variants.GT,
    variants.GT_ATC,
    variants.ED,
    variants.EXTRA,
    variants.ED_GT,
    variants.EXTRA_GT,
)
_ORDERED = (variants.D_SOBA, variants.GT, variants.GT_ATC, variants.ED, variants.EXTRA)
_REFERENCE_SMALL = {"D-SOBA": "7.0e-1 for ever"}
_REFERENCE_LARGE = {
    ("ring", "SPARKLE-ED"): "2e-23",
    ("ring", "SPARKLE-EXTRA"): "2e-23",
    ("ring", "SPARKLE-GT (atc)"): "2e-12",
    ("ring", "SPARKLE-GT (semi)"): "8e-12",
    ("ring", "D-SOBA"): "8.0",
    ("star", "SPARKLE-ED"): "6e-24",
    ("star", "SPARKLE-EXTRA"): "6e-24",
    ("star", "SPARKLE-GT (atc)"): "2.5e-5",
    ("star", "SPARKLE-GT (semi)"): "5.7e-5",
}


@dataclass(frozen=True, slots=True)
class ErrorCurve:
    """``sum_i |x_i - x*|^2`` over the steps of one run."""

    panel: str
    variant: Variant
    steps: list[int]
    errors: list[float]


def descend(
    variant: Variant, graphs: Topology, *, times: float, steps: int, problem: Quadratic, panel: str = ""
) -> ErrorCurve:
    """Run one method, without noise.

    Args:
        variant: which.
        graphs: of all levels.
        times: how many times larger than alpha 0.02 and beta = gamma 0.05 the steps are.
        steps: how many.
        problem: what is solved.
        panel: of the figure.
    """
    settings = BilevelSettings(alpha=0.02 * times, beta=0.05 * times, gamma=0.05 * times, theta=0.3)
    x = torch.zeros(problem.upper_variables, dtype=torch.float64)
    y = torch.zeros(problem.lower_variables, dtype=torch.float64)
    method = variant.build(problem, StackedCommunicator(graphs, path=variant.path), settings, x, y)
    data, made, errors = problem.data(), [0], [problem.error(method.upper)]
    for step in range(1, steps + 1):
        method.step(data)
        if step % _EVERY == 0 or step == steps:
            made.append(step)
            errors.append(problem.error(method.upper))
            if not math.isfinite(errors[-1]) or errors[-1] > 1e12:
                break
    return ErrorCurve(panel, variant, made, errors)


@dataclass(frozen=True, slots=True)
class Descent:
    """A run of the table: what it is called there, and what this project's reference is."""

    quantity: str
    reference: str
    curve: Future[ErrorCurve]


def submit_problem_q(pool: Executor, seed: int, steps: int) -> list[Descent]:
    """Have all of the runs run; those without a panel are in no figure.

    Args:
        pool: takes the runs.
        seed: of the drawn problem.
        steps: of the runs with small steps; those with large ones are half as long again.
    """
    descents = []
    for variant in _UNIFORM:
        curve = pool.submit(_descended, variant, "ring", 1, steps, seed, "lazy ring, small steps")
        reference = _REFERENCE_SMALL.get(variant.label, "at most 1e-18")
        descents.append(Descent(f"problem Q, {variant.label}", reference, curve))
    for off, reference in (("x", "3.0e-1"), ("y", "5.8e-4"), ("z", "2.3e-1")):
        curve = pool.submit(_descended, _without(off), "ring", 1, steps, seed, "")
        descents.append(Descent(f"problem Q, ED but no correction at {off}", reference, curve))
    for name in ("ring", "star"):
        panel = f"lazy {name}, steps 8 times larger"
        for variant in _ORDERED:
            curve = pool.submit(_descended, variant, name, 8, 3 * steps // 2, seed, panel)
            reference = _REFERENCE_LARGE.get((name, variant.label), "none")
            quantity = f"problem Q, steps x 8, lazy {name}, {variant.label}"
            descents.append(Descent(quantity, reference, curve))
    return descents


def _descended(variant: Variant, graph: str, times: int, steps: int, seed: int, panel: str) -> ErrorCurve:
    """What is sent to a worker: all but names and numbers is made there."""
    graphs = ring(10, lazy=True) if graph == "ring" else star(10, lazy=True)
    mixed = variant if graph == "ring" else replace(variant, path="dense")
    return descend(mixed, graphs, times=times, steps=steps, problem=Quadratic(seed=seed), panel=panel)


def findings_of(descents: Sequence[Descent]) -> list[Finding]:
    """Return the error at the end of every run."""
    return [_finding(one.quantity, one.curve.result(), one.reference) for one in descents]


def _without(level: str) -> Variant:
    strategies = dict.fromkeys(("lower", "auxiliary", "upper"), "exact-diffusion")
    strategies[{"x": "upper", "y": "lower", "z": "auxiliary"}[level]] = "diffusion"
    return Variant(f"ED without {level}", sparkle(**strategies), "grey")


def _finding(what: str, curve: ErrorCurve, reference: str) -> Finding:
    note = (
        f"sum |x_i - x*|^2 after {curve.steps[-1]} steps; this project's reference, another draw: {reference}"
    )
    return Finding(what, None, curve.errors[-1], note)


def rows_of(curves: Sequence[ErrorCurve]) -> list[tuple[str, str, int, float]]:
    """Return panel, method, step and error of every recorded step."""
    return [
        (curve.panel, curve.variant.label, step, error)
        for curve in curves
        for step, error in zip(curve.steps, curve.errors, strict=True)
    ]
