"""``graftwork report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from graftwork_trainer.commands.train import directory_argument, print_report


class ReportCommand:
    """Write the report of one run or of several side by side."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "runs", nargs="+", type=Path, metavar="RUN", help="run directories, finished or not"
        )
        parser.add_argument(
            "--out",
            type=directory_argument,
            default=Path("report"),
            metavar="DIR",
            help="where to (default: report)",
        )
        parser.add_argument(
            "--title", default="", help="heading of the page (default: the directories' names)"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        title = arguments.title or ", ".join(run.name for run in arguments.runs)
        print_report(arguments.runs, arguments.out, title=title)
        return 0
