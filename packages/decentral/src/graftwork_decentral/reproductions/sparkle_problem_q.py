"""The quadratic problem whose solution is known: who reaches it, who stalls, and where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    method = variant.build(problem, StackedCommunicator(graphs), settings, x, y)
    data, made, errors = problem.data(), [0], [problem.error(method.upper)]
    for step in range(1, steps + 1):
        method.step(data)
        if step % _EVERY == 0 or step == steps:
            made.append(step)
            errors.append(problem.error(method.upper))
            if not math.isfinite(errors[-1]) or errors[-1] > 1e12:
                break
    return ErrorCurve(panel, variant, made, errors)


def problem_q(seed: int, steps: int) -> tuple[list[Finding], list[ErrorCurve]]:
    """Compute the tables and the curves.

    Args:
        seed: of the drawn problem.
        steps: of the runs with small steps; those with large ones are half as long again.
    """
    problem, lazy_ring = Quadratic(seed=seed), ring(10, lazy=True)
    findings, curves = [], []
    for variant in _UNIFORM:
        curve = descend(
            variant, lazy_ring, times=1, steps=steps, problem=problem, panel="lazy ring, small steps"
        )
        curves.append(curve)
        reference = _REFERENCE_SMALL.get(variant.label, "at most 1e-18")
        findings.append(_finding(f"problem Q, {variant.label}", curve, reference))
    for off, reference in (("x", "3.0e-1"), ("y", "5.8e-4"), ("z", "2.3e-1")):
        curve = descend(_without(off), lazy_ring, times=1, steps=steps, problem=problem)
        findings.append(_finding(f"problem Q, ED but no correction at {off}", curve, reference))
    for name, graph in (("ring", lazy_ring), ("star", star(10, lazy=True))):
        for variant in _ORDERED:
            curve = descend(
                variant,
                graph,
                times=8,
                steps=3 * steps // 2,
                problem=problem,
                panel=f"lazy {name}, steps 8 times larger",
            )
            curves.append(curve)
            reference = _REFERENCE_LARGE.get((name, variant.label), "none")
            findings.append(_finding(f"problem Q, steps x 8, lazy {name}, {variant.label}", curve, reference))
    return findings, curves


def _without(level: str) -> Variant:
    strategies = dict.fromkeys(("lower", "auxiliary", "upper"), "exact-diffusion")
    strategies[{"x": "upper", "y": "lower", "z": "auxiliary"}[level]] = "diffusion"
    build = sparkle(strategies["lower"], strategies["upper"])
    return Variant(
        f"ED without {level}",
        lambda *given: build(*given, auxiliary=strategies["auxiliary"]),  # type: ignore[call-arg]
        "grey",
    )


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
