"""``graftwork flatness-study``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from graftwork import parse_set
from graftwork_decentral.extras import FIGURES


class FlatnessStudyCommand:
    """Train and measure every combination of a study's config, and report."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        parser.add_argument(
            "config", metavar="CONFIG", help="a .toml file, or one that is shipped: digits, escape or cifar10"
        )
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="put a value over the config's: study.steps=2000",
        )
        parser.add_argument(
            "--out",
            type=Path,
            metavar="DIR",
            help="where to (default: runs/flatness-study-CONFIG); in it again, finished runs are kept",
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Run it; returns the exit code."""
        FIGURES.require("flatness-study")
        from graftwork_decentral.flatness.study.config import read_study
        from graftwork_decentral.flatness.study.report import write_report
        from graftwork_decentral.flatness.study.rows import Row

        name, chosen = read_study(arguments.config, [parse_set(text) for text in arguments.set])
        output: Path = arguments.out or Path("runs") / f"flatness-study-{name}"
        rows: list[Row] = chosen().run(output, say=lambda line: print(line, file=sys.stderr))
        print(write_report(rows, output))
        print(f"written to {output}")
        return 0
