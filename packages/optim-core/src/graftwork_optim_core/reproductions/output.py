"""What reproductions leave in their folder: findings, tables, and a picture where what draws is installed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from graftwork import Finding
from graftwork_optim_core.plugin import PICTURE


def can_draw() -> bool:
    """Return whether what draws is installed; say so where it is not, before the work begins."""
    if PICTURE.missing:
        print(f"without a picture, which {PICTURE.requirement} draws: pip install '{PICTURE.requirement}'")
    return not PICTURE.missing


def write_findings(folder: Path, findings: Sequence[Finding]) -> None:
    """Write ``findings.json``."""
    (folder / "findings.json").write_text(json.dumps([asdict(finding) for finding in findings], indent=1))


def write_table(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([heading, *rows])
