"""``graftwork attention check``."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from graftwork import parse_set

if TYPE_CHECKING:
    from graftwork_attention.contract import Build, Check

KEPT, BROKEN, NOT_CLAIMED = "kept", "broken", "not claimed"


class CheckAction:
    """Look into every promise of the contract."""

    name = "check"
    summary = "whether a mixer keeps the contract: padding, lengths, state, refusals, gradients"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "mixer", metavar="NAME", help="a name that `graftwork list attention` shows, or module:Class"
        )
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="an option of the mixer; it is built 16 wide, with 2 heads, for at most 24 tokens",
        )
        parser.add_argument(
            "--claims",
            default="",
            metavar="NAME,NAME",
            help="what a class without capabilities can do: masks, any_length, needs_positions, ...",
        )
        parser.add_argument("--out", type=Path, metavar="FILE", help="write what was found as JSON, too")

    def run(self, arguments: argparse.Namespace) -> int:
        settings = [parse_set(f"attention.{text}") for text in arguments.set]
        options = {override.path[-1]: override.value for override in settings}
        claims = [claim.strip() for claim in arguments.claims.split(",") if claim.strip()]
        from graftwork_attention.commands.checked import find
        from graftwork_attention.contract import CHECKS
        from graftwork_trainer.screen import Screen

        build = find(arguments.mixer, options, claims)
        screen = Screen()
        found = []
        for check in CHECKS:
            state, why = look(check, build)
            found.append({"promise": check.name, "means": check.promise, "state": state, "why": why})
            screen.write(screen.spell(f"{state:<11}  {check.name}"))
            for line in wrap(screen.spell(why), max(20, screen.width - 4)):
                screen.write(f"    {line}")
        counts = Counter(entry["state"] for entry in found)
        told = ", ".join(f"{counts[state]} {state}" for state in (KEPT, BROKEN, NOT_CLAIMED))
        screen.write(screen.spell(f"{arguments.mixer}: {len(found)} promises: {told}"))
        if arguments.out is not None:
            content = {"mixer": arguments.mixer, "options": options, "claims": claims, "promises": found}
            arguments.out.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        return 1 if counts[BROKEN] else 0


def look(check: Check, build: Build) -> tuple[str, str]:
    """Whether a promise is kept, and why not."""
    from graftwork_attention.contract import ContractBroken

    try:
        if not check.applies(build):
            return NOT_CLAIMED, ""
        check.run(build)
    except ContractBroken as broken:
        return BROKEN, str(broken)
    return KEPT, ""
