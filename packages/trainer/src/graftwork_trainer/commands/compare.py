"""``graftwork compare``: every variant and seed in a process of its own, then one report.

A process each, because peak memory is the process's, and because one variant's failure must not take the
others along.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from graftwork import GraftworkError, Interrupted, get_registry, load_recipe
from graftwork.errors import Mistakes
from graftwork.overrides import parse_sets
from graftwork.recipe import COMPARE, recipe_text
from graftwork_trainer.commands.child import graftwork
from graftwork_trainer.commands.comparison import Job, plan
from graftwork_trainer.commands.train import add_set_option, directory_argument, print_report
from graftwork_trainer.streams import expendable_streams


class CompareCommand:
    """Train every combination of ``--over`` values with every seed."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("recipe", metavar="RECIPE", help="a registered recipe's name, or a .toml file")
        parser.add_argument(
            "--over",
            action="append",
            default=[],
            metavar="KEY=A,B",
            help="values to compare: optimizer.name=adamw,gwt-adamw; several --over give every combination "
            "(default: what the recipe's own list `compare` says)",
        )
        add_set_option(parser)
        parser.add_argument(
            "--seeds", type=int, default=1, metavar="N", help="seeds per variant (default: 1)"
        )
        parser.add_argument(
            "--out",
            type=directory_argument,
            metavar="DIR",
            help="where to (default: runs/RECIPE-compare-TIME); in it again, finished runs are kept",
        )
        parser.add_argument(
            "--processes", type=int, default=1, metavar="N", help="ranks per run, under torchrun (default: 1)"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        from graftwork_trainer.commands.variant_checks import check_variants

        jobs = _planned(arguments)
        out = jobs[0].directory.parent
        ahead = [job for job in jobs if not job.finished]
        variants = {job.variant: [j.resolved for j in ahead if j.variant == job.variant] for job in ahead}
        check_variants(variants, processes=arguments.processes)
        failed = []
        with expendable_streams():
            for index, job in enumerate(jobs, start=1):
                if job not in ahead:
                    print(f"[{index}/{len(jobs)}] {job.name}: already trained", file=sys.stderr)
                    continue
                print(f"[{index}/{len(jobs)}] {job.name}", file=sys.stderr)
                if _train(job, arguments.processes):
                    failed.append(job.name)
            return _report([job for job in jobs if job.begun], failed, out)


def _planned(arguments: argparse.Namespace) -> list[Job]:
    """The runs that the command line asks for.

    Raises:
        GraftworkError: all that is wrong with the command line and the recipe.
    """
    mistakes = Mistakes()
    for option in ("seeds", "processes"):
        with mistakes.noted():
            if getattr(arguments, option) < 1:
                raise GraftworkError(f"--{option} must be at least 1, got {getattr(arguments, option)}")
    base = parse_sets(arguments.set, mistakes)
    jobs: list[Job] = []
    with mistakes.noted():
        overs = arguments.over or _recipes_own(arguments.recipe)
        option = "--over" if arguments.over else f"the recipe's {COMPARE}"
        jobs = plan(arguments.recipe, overs, base, seeds=arguments.seeds, out=arguments.out, option=option)
    mistakes.refuse(f"recipe {arguments.recipe}")
    return jobs


def _recipes_own(reference: str) -> Sequence[str]:
    """What a recipe says is to be compared.

    Raises:
        GraftworkError: it says nothing.
    """
    overs = load_recipe(reference).compare
    if not overs:
        given = COMPARE in tomllib.loads(recipe_text(reference, get_registry()))
        lacks = (
            f"the list `{COMPARE}` of recipe {reference} is empty"
            if given
            else (f"recipe {reference} has no list `{COMPARE}` of what to compare")
        )
        raise GraftworkError(f"--over KEY=A,B is missing: {lacks}")
    return overs


def _train(job: Job, processes: int) -> int:
    """Train or go on with one run; return the exit code.

    Raises:
        Interrupted: a signal asked it or this process to stop.
    """
    if job.begun:
        arguments = ["train", "--resume", str(job.directory)]
    else:
        recipe = job.directory.parent / "recipes" / f"{job.name}.toml"
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(job.resolved.to_toml(), "utf-8")
        arguments = ["train", str(recipe), "--out", str(job.directory)]
    code, signal_number = graftwork([*arguments, "--no-report"], processes=processes)
    if not signal_number and (code < 0 or code > 128):
        signal_number = -code if code < 0 else code - 128
    if signal_number:
        raise Interrupted(f"{job.name}: interrupted; {_continue_hint(job.directory.parent)}", signal_number)
    return code


def _report(jobs: Sequence[Job], failed: Sequence[str], out: Path) -> int:
    if not jobs:
        raise GraftworkError(f"no run of {out} got as far as to be reported: {', '.join(failed)} failed")
    print_report([job.directory for job in jobs], out, title=f"{jobs[0].resolved.name}: a comparison")
    if failed:
        raise GraftworkError(f"{', '.join(failed)} failed; {_continue_hint(out)}")
    return 0


def _continue_hint(out: Path) -> str:
    return f"the same command with `--out {out}` goes on with what is left"
