"""Flatness in decentralized learning: exact excess risk beside simulation, and escape from a sharp minimum.

Source: Cao, Wu, Yuan, Sayed, arXiv:2406.20006 (IEEE TPAMI 2025). What is shown are its three statements in
small models whose figures are exact or cheap: (1) decentralized methods leave minima sooner than centralized
ones, most of all with large batches; (2) consensus has the larger excess risk and leaves sooner than
diffusion; (3) in a landscape with a sharp and a flat well they therefore end in the flat one. Its image
classifiers are not trained here, and it gives no figure for these models, so that nothing stands beside a
published one: a simulation stands beside the exact value, and the rest beside an earlier run of this project.

1. by hand: four agents on a lazy ring, against a table.
2. scans: five dimensions, eight agents; by batch, by graph and by horizon, exact and simulated.
3. exits: mean times to leave the sharp well of a double well, with censoring. The reference times belong to a
   line at -0.25; the barrier itself, the highest point between the wells, lies at -0.209.
4. thresholds: the heterogeneity that drives agents out with no noise at all.
5. shares: which well uniform starts end in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from graftwork import Finding
from graftwork_decentral.extras import FIGURES
from graftwork_decentral.flatness.lab import DoubleWell, escape_threshold
from graftwork_decentral.reproductions.flatness_cases import (
    COMPARED,
    LIMIT,
    REFERENCE_LINE,
    THRESHOLDS,
    WINDOW,
    ExitRow,
    RiskRow,
    ShareRow,
    batch_rows,
    exit_rows,
    graph_rows,
    horizon_rows,
    rows_by_hand,
    share_rows,
    well_problem,
)
from graftwork_decentral.reproductions.flatness_figures import draw_escape, draw_excess_risk
from graftwork_trainer.tables import write_csv

_EARLIER = "earlier run"


def reproduce(
    output: Path, replicas: int = 200, exit_replicas: int = 300, starts: int = 1000, seed: int = 0
) -> list[Finding]:
    """Compute tables and figures.

    Args:
        output: folder for ``findings.json``, ``by_hand.csv``, ``batch_scan.csv``, ``graph_scan.csv``,
            ``horizon.csv``, ``exits.csv``, ``shares.csv``, ``excess_risk.png`` and
            ``escape.png``; made if need be.
        replicas: simulated runs of the quadratic, 2 or more.
        exit_replicas: runs that leave the well, 2 or more.
        starts: whose ends are counted, 2 or more.
        seed: of everything drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ValueError: an option is out of its range.
    """
    FIGURES.require("reproduction/flatness")
    for name, value in (("replicas", replicas), ("exit_replicas", exit_replicas), ("starts", starts)):
        if value < 2:
            raise ValueError(f"{name} must be 2 or more, got {value}")
    output.mkdir(parents=True, exist_ok=True)
    well = DoubleWell()
    by_hand, batches, graphs = rows_by_hand(), batch_rows(replicas, seed), graph_rows(replicas, seed)
    horizons = horizon_rows(5 * replicas, seed)
    exits = [
        row for line in (REFERENCE_LINE, well.barrier) for row in exit_rows(well, line, exit_replicas, seed)
    ]
    shares = share_rows(well, starts, seed)
    findings = [
        *(_by_hand(row) for row in by_hand),
        *(_simulated(row) for row in (*batches, *graphs) if row.simulated is not None),
        *_ratios_by_batch(batches),
        *(_exit(row) for row in exits),
        *_exit_ratios(exits),
        *_thresholds(well),
        *(_share(row) for row in shares),
    ]
    (output / "findings.json").write_text(json.dumps([asdict(finding) for finding in findings], indent=1))
    tables: dict[str, Sequence[Any]] = {
        "by_hand": by_hand,
        "batch_scan": batches,
        "graph_scan": graphs,
        "horizon": horizons,
        "exits": exits,
        "shares": shares,
    }
    for name, rows in tables.items():
        columns = [field.name for field in fields(rows[0])]
        cells = ([getattr(row, column) for column in columns] for row in rows)
        write_csv(output / f"{name}.csv", columns, cells)
    draw_excess_risk(horizons, batches, graphs, output / "excess_risk.png")
    draw_escape(well, exits, shares, output / "escape.png")
    return findings


def _by_hand(row: RiskRow) -> Finding:
    quantity = f"excess risk, {row.method}, {row.case}"
    return Finding(quantity, None, row.exact, expected=row.reference, source=_EARLIER)


def _simulated(row: RiskRow) -> Finding:
    assert row.simulated is not None
    quantity = f"simulated excess risk, {row.method}, {row.case}, {row.graph}, batch {row.batch_size:g}"
    note = f"steps {WINDOW[0]} to {WINDOW[1]}, +- {row.standard_error:.2g}"
    return Finding(quantity, None, row.simulated, note, expected=row.exact, source="computed")


def _ratios_by_batch(rows: Sequence[RiskRow]) -> list[Finding]:
    exact = {(row.batch_size, row.method): row.exact for row in rows}
    drawn = {1.0: 3.7, 16.0: 36.0, 256.0: 554.0}
    return [
        Finding(
            f"excess risk, diffusion over centralized, ring, batch {batch:g}",
            None,
            exact[batch, "diffusion"] / exact[batch, "centralized"],
            f"another draw of a case of the same shape gave {other:g}",
        )
        for batch, other in drawn.items()
    ]


def _exit(row: ExitRow) -> Finding:
    note = f"+- {row.standard_error:.0f}"
    if row.censored:
        note += f", {row.censored:.0%} still inside after {LIMIT} steps"
    place = f"line {row.line:g}" if row.line == REFERENCE_LINE else "the barrier"
    heterogeneity = "any" if row.method == "centralized" else f"{row.beta:g}"
    quantity = f"steps to leave, {row.method}, noise {row.sigma:g}, beta {heterogeneity}, {place}"
    source = "" if row.reference is None else _EARLIER
    return Finding(quantity, None, row.mean, note, expected=row.reference, source=source)


def _exit_ratios(rows: Sequence[ExitRow]) -> list[Finding]:
    findings = []
    for line, place in ((REFERENCE_LINE, f"line {REFERENCE_LINE:g}"), (None, "the barrier")):
        means = {
            row.method: row.mean
            for row in rows
            if (row.line == REFERENCE_LINE) == (line is not None)
            and (row.sigma, row.beta) in ((18.0, 2.0), (18.0, 0.0))
            and (row.method == "centralized" or row.beta == 2.0)
        }
        for slow, fast, bar, reference in (
            ("centralized", "diffusion", 6.0, 1737 / 131),
            ("diffusion", "consensus", 1.35, 131 / 68),
        ):
            findings.append(
                Finding(
                    f"steps to leave, {slow} over {fast}, noise 18, beta 2, {place}",
                    None,
                    means[slow] / means[fast],  # type: ignore[index]
                    f"{bar:g} or more whatever the seed",
                    expected=reference if line is not None else None,
                    source=_EARLIER if line is not None else "",
                )
            )
    return findings


def _thresholds(well: DoubleWell) -> list[Finding]:
    problem = well_problem(well, 1.0, 1.0)
    start = [well.sharp_centre]
    findings = []
    for method in COMPARED:
        most = 1000.0 if method == "centralized" else 20.0
        found = escape_threshold(problem, method, start, well.in_flat_well, low=0, high=most)
        if method == "centralized":
            quantity = "leaves without noise at beta up to 1000, centralized (1 if it does)"
            left = float(found < most)
            findings.append(Finding(quantity, None, left, expected=0.0, source=_EARLIER))
        else:
            quantity = f"beta at which agents leave without noise, {method}"
            known = THRESHOLDS[method]
            findings.append(Finding(quantity, None, found, expected=known, source=_EARLIER))
    return findings


def _share(row: ShareRow) -> Finding:
    quantity = f"share in the flat well, {row.method}, noise {row.sigma:g}, beta {row.beta:g}"
    note = f"+- {row.standard_error:.3f}"
    return Finding(quantity, None, row.share, note, expected=row.reference, source=_EARLIER)
