"""SPARKLE on a problem with known solution, on hyper-cleaning of digits, and on rings of different weights.

Source: arXiv:2411.14166. The paper's synthetic functions and the figures behind its curves could not be
established, so that the table has no published column: notes give the reference values of this project,
measured with an independent implementation on other draws, and the paper's qualitative statements stand in
the topology study. Measured against the statement that the lower and auxiliary graph matters more: in
hyper-cleaning it does, clearly so from a gap of 0.02 down. On the quadratic problem it does for the sparsest
ring alone (EXTRA, ED); at moderate gaps, and wherever the upper level tracks gradients, the upper graph costs
more steps.

All of it takes some 150 seconds of CPU time, shared by worker processes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from graftwork import Finding
from graftwork_decentral.extras import REPRODUCE
from graftwork_decentral.reproductions import sparkle_figures as figures
from graftwork_decentral.reproductions import sparkle_hyper_cleaning as cleaning
from graftwork_decentral.reproductions import sparkle_problem_q as problem_q
from graftwork_decentral.reproductions import sparkle_topology as topology
from graftwork_decentral.reproductions.sparkle_workers import workers_pool
from graftwork_trainer.tables import write_csv


def reproduce(
    output: Path,
    seeds: int = 4,
    problem_steps: int = 2000,
    cleaning_steps: int = 1000,
    seed: int = 0,
    workers: int | None = None,
) -> list[Finding]:
    """Compute tables and figures.

    Args:
        output: folder for ``findings.json``, ``problem_q.csv``, ``hyper_cleaning.csv``, ``topology.csv``, and
            a figure each; made if need be.
        seeds: draws of the hyper-cleaning problem.
        problem_steps: of the quadratic problem.
        cleaning_steps: of hyper-cleaning, at least 250.
        seed: of the quadratic problem and the topology study; of the first draw.
        workers: processes that share the runs; none for one a core, 1 for this process alone. The results
            are the same. A script that asks for several guards its own start by ``if __name__ == ...``.

    Raises:
        MissingExtraError: scikit-learn or matplotlib is not installed.
        ValueError: there is no seed, or there are too few steps or workers.
    """
    REPRODUCE.require("reproduction/sparkle")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    if problem_steps < 1:
        raise ValueError(f"problem_steps must be at least 1, got {problem_steps}")
    if cleaning_steps < cleaning.MIDDLE:
        raise ValueError(f"cleaning_steps must be at least {cleaning.MIDDLE}, got {cleaning_steps}")
    output.mkdir(parents=True, exist_ok=True)
    with workers_pool(workers) as pool:
        # The longest first, so that no worker is left with one at the end.
        cleaned = cleaning.submit_cleaning(pool, range(seed, seed + seeds), cleaning_steps)
        placed = topology.submit_topologies(pool, seed, problem_steps)
        descents = problem_q.submit_problem_q(pool, seed, problem_steps)
        findings = problem_q.findings_of(descents)
        runs = [run.result() for run in cleaned.runs]
        optima = {which: [one.result() for one in values] for which, values in cleaned.optima.items()}
        points = [point.result() for point in placed]
    curves = [curve for curve in (one.curve.result() for one in descents) if curve.panel]
    findings += cleaning.findings_of(runs, optima)
    findings += topology.findings_of(points, problem_steps)
    (output / "findings.json").write_text(json.dumps([asdict(finding) for finding in findings], indent=1))
    heading = ("setting", "method", "step", "squared error")
    write_csv(output / "problem_q.csv", heading, problem_q.rows_of(curves))
    columns = ("step", "evaluations", "worst", "mean", "auc", "disagreement")
    write_csv(
        output / "hyper_cleaning.csv",
        ("method", "seed", *columns),
        (
            (run.variant.label, run.seed, *(getattr(moment, column) for column in columns))
            for run in runs
            for moment in run.moments
        ),
    )
    names = ("pair", "varied", "gap", "steps_to_solve", "worst_accuracy")
    write_csv(output / "topology.csv", names, ([getattr(point, name) for name in names] for point in points))
    figures.draw_problem_q(curves, output / "problem_q.png")
    figures.draw_hyper_cleaning(runs, output / "hyper_cleaning.png")
    figures.draw_topology(points, output / "topology.png")
    return findings
