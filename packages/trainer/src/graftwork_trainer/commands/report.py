"""``graftwork report``."""

from __future__ import annotations

import argparse
from pathlib import Path


class ReportCommand:
    """Write the report of one run or of several side by side."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "runs", nargs="+", type=Path, metavar="RUN", help="run directories, finished or not"
        )
        parser.add_argument(
            "--out", type=Path, default=Path("report"), metavar="DIR", help="where to (default: report)"
        )
        parser.add_argument(
            "--title", default="", help="heading of the page (default: the directories' names)"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        from graftwork_trainer.report import print_table, read_run, write_report

        title = arguments.title or ", ".join(run.name for run in arguments.runs)
        report = write_report(arguments.runs, arguments.out, title=title)
        print_table([read_run(run) for run in arguments.runs])
        print(f"report: {report.page}")
        return 0
