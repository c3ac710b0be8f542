"""``graftwork verify``."""

from __future__ import annotations

import argparse
from pathlib import Path

from graftwork.readable import readable


class VerifyCommand:
    """Say whether runs are what was written: digests, finiteness, and whether they resume exactly here."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")

    def run(self, arguments: argparse.Namespace) -> int:
        from graftwork_trainer.verification import verify_run

        all_whole = True
        for run in arguments.runs:
            print(readable(str(run)))
            for finding in verify_run(run):
                all_whole &= finding.whole
                print(f"  {'' if finding.whole else 'DAMAGED '}{readable(str(finding))}")
        return 0 if all_whole else 1
