"""``graftwork reproduce``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from graftwork import Finding, GraftworkError, get_registry
from graftwork.choice import Choice
from graftwork.errors import did_you_mean
from graftwork.overrides import parse_set
from graftwork.schema import NotAccepted, check, options_of


class ReproduceCommand:
    """Run a registered reproduction and print measured beside published figures."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("paper", metavar="PAPER", help="a name that `graftwork list reproduction` shows")
        parser.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the reproduction"
        )
        parser.add_argument("--out", type=Path, metavar="DIR", help="where to (default: reproductions/PAPER)")

    def run(self, arguments: argparse.Namespace) -> int:
        choice = _choose(arguments.paper, arguments.set)
        output: Path = arguments.out or Path("reproductions") / arguments.paper
        output.mkdir(parents=True, exist_ok=True)
        findings = list(choice(output=output))
        (output / "findings.json").write_text(
            json.dumps([asdict(finding) for finding in findings], indent=2), "utf-8"
        )
        _print(arguments.paper, findings)
        print(f"written to {output}")
        return 0


def _choose(paper: str, settings: Sequence[str]) -> Choice:
    registry = get_registry()
    entry = registry.find(f"reproduction/{paper}")
    target, kind = registry.resolve(entry), registry.kinds["reproduction"]
    options = options_of(target, kind)
    values: dict[str, Any] = {}
    for override in (parse_set(f"reproduction.{text}") for text in settings):
        key = override.path[-1]
        if key not in options:
            raise GraftworkError(
                f"--set {key}: {entry.component.reference} has no such option{did_you_mean(key, options)} "
                f"(its options: {', '.join(options) or 'none'})"
            )
        try:
            values[key] = check(override.value, options[key].annotation)
        except NotAccepted:
            raise GraftworkError(
                f"--set {key}: expected {options[key].type_text}, got {override.value!r}"
            ) from None
    return Choice(entry, kind, target, values)


def _print(paper: str, findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{paper}: measured beside published", title_justify="left")
    for heading in ("quantity", "published", "measured", "difference"):
        table.add_column(heading, justify="left" if heading == "quantity" else "right")
    for finding in findings:
        difference = finding.relative_difference
        table.add_row(
            finding.quantity + (f"\n  [dim]{finding.note}[/dim]" if finding.note else ""),
            "" if finding.published is None else f"{finding.published:g}",
            f"{finding.measured:.6g}",
            "" if difference is None else f"{difference:+.2%}",
        )
    Console().print(table)
