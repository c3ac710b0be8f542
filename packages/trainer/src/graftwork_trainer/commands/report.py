"""``graftwork report``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from graftwork import GraftworkError
from graftwork_trainer.commands.train import directory_argument, print_report

_MOST_NAMES = 3


class ReportCommand:
    """Write the report of one run, or of several side by side."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "runs",
            nargs="+",
            type=directory_argument,
            metavar="RUN",
            help="run directories, finished or not, and folders of them, a comparison's for one",
        )
        parser.add_argument(
            "--out",
            type=directory_argument,
            default=Path("report"),
            metavar="DIR",
            help="where to (default: report)",
        )
        parser.add_argument(
            "--title", default="", help="heading of the page (default: names of the directories)"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        from graftwork_trainer.report.finding import read_runs

        _refuse_file(arguments.out)
        print_report(
            read_runs(arguments.runs), arguments.out, title=arguments.title or _title(arguments.runs)
        )
        return 0


def _refuse_file(out: Path) -> None:
    """Before anything is read: a directory cannot be made in the place of a file, or in one.

    Raises:
        GraftworkError: it, or what it would lie in, is there and no directory.
    """
    there = next((place for place in (out, *out.parents) if os.path.lexists(place)), None)
    if there is not None and not there.is_dir():
        raise GraftworkError(f"--out {out}: {there} is no directory; name one, or what is not there yet")


def _title(places: Sequence[Path]) -> str:
    """The names of the first few places."""
    places = list(dict.fromkeys(place.resolve() for place in places))
    names = [place.name for place in places[:_MOST_NAMES]]
    more = len(places) - _MOST_NAMES
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
