"""``graftwork reproduce``."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap

from graftwork import Finding, choose, parse_set
from graftwork_trainer.commands.train import directory_argument
from graftwork_trainer.screen import Screen, columns_width

_NARROWEST = 20


class ReproduceCommand:
    """Run a registered reproduction and print what was measured beside what was expected, and who says so."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("paper", metavar="PAPER", help="a name that `graftwork list reproduction` shows")
        parser.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the reproduction"
        )
        parser.add_argument(
            "--out", type=directory_argument, metavar="DIR", help="where to (default: reproductions/PAPER)"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        settings = [parse_set(f"reproduction.{text}") for text in arguments.set]
        options = {override.path[-1]: override.value for override in settings}
        choice = choose("reproduction", arguments.paper, options)
        output: Path = arguments.out or Path("reproductions") / arguments.paper
        output.mkdir(parents=True, exist_ok=True)
        findings = list(choice(output=output))
        (output / "findings.json").write_text(
            json.dumps([asdict(finding) for finding in findings], indent=2), "utf-8"
        )
        _print(arguments.paper, findings)
        print(f"written to {output}")
        return 0


def _print(paper: str, findings: Sequence[Finding]) -> None:
    """The table, each note below its line."""
    screen = Screen()
    figures = [[finding.quantity, *_figures(finding)] for finding in findings]
    headings = ["quantity", "expected", "source", "measured", "difference"]
    beside = columns_width([["", *headings[1:]], *(["", *texts] for _, *texts in figures)])
    lines = [headings]
    for (quantity, *texts), finding in zip(figures, findings, strict=True):
        room = max(_NARROWEST, screen.width - beside)
        first, *more = wrap(screen.spell(quantity), room, subsequent_indent="  ") or [""]
        lines += [[first, *texts], *([line, *("" for _ in texts)] for line in more)]
        lines += [[f"  {line}"] for line in wrap(screen.spell(finding.note), screen.width - 2)]
    for line in wrap(screen.spell(f"{paper}: {_counts(findings)}"), screen.width):
        screen.write(line)
    screen.write()
    screen.columns(lines)


def _counts(findings: Sequence[Finding]) -> str:
    """Where the expected figures come from; of the published ones, which a reader asks for first, none too.

    >>> _counts([Finding("a", None, 1.0, expected=2.0, source="by hand"), Finding("b", None, 1.0)])
    '2 figures; the expected ones: 0 published, 1 by hand, 1 unknown'
    """
    origins = Counter(finding.origin for finding in findings)
    counts = {"published": origins.pop("published", 0), **origins}
    if "" in counts:
        counts["unknown"] = counts.pop("")
    told = ", ".join(f"{count} {origin}" for origin, count in counts.items())
    return f"{len(findings)} figures; the expected ones: {told}"


def _figures(finding: Finding) -> list[str]:
    difference = finding.relative_difference
    return [
        "" if finding.reference is None else f"{finding.reference:g}",
        finding.origin,
        f"{finding.measured:.6g}",
        "" if difference is None else f"{difference:+.2%}",
    ]
