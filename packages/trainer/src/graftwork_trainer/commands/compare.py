"""``graftwork compare``: every variant and seed in a process of its own, then one report.

A process each, because peak memory is the process's, and because one variant's failure must not take the
others along.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from graftwork import GraftworkError, Override, load_recipe, parse_set
from graftwork.overrides import product
from graftwork.resolution import Resolved
from graftwork_trainer.commands.train import add_set_option, new_directory, print_report


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a comparison."""

    name: str
    resolved: Resolved
    directory: Path

    @property
    def finished(self) -> bool:
        """Whether it ended by itself, in an earlier call of the same comparison."""
        try:
            result = json.loads((self.directory / "result.json").read_text("utf-8"))
        except FileNotFoundError:
            return False
        return result["status"] in ("finished", "stopped-early")


class CompareCommand:
    """Train every combination of ``--over`` values with every seed."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("recipe", metavar="RECIPE", help="a registered recipe's name, or a .toml file")
        parser.add_argument(
            "--over",
            action="append",
            required=True,
            metavar="KEY=A,B",
            help="values to compare: optimizer.name=adamw,gwt-adamw; several --over give every combination",
        )
        add_set_option(parser)
        parser.add_argument(
            "--seeds", type=int, default=1, metavar="N", help="seeds per variant (default: 1)"
        )
        parser.add_argument(
            "--out",
            type=Path,
            metavar="DIR",
            help="where to (default: runs/RECIPE-compare-TIME); in it again, finished runs are kept",
        )
        parser.add_argument(
            "--processes", type=int, default=1, metavar="N", help="ranks per run, under torchrun (default: 1)"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        for option in ("seeds", "processes"):
            if getattr(arguments, option) < 1:
                raise GraftworkError(f"--{option} must be at least 1, got {getattr(arguments, option)}")
        jobs = _plan(arguments)
        out = jobs[0].directory.parent
        failed = []
        for index, job in enumerate(jobs, start=1):
            if job.finished:
                print(f"[{index}/{len(jobs)}] {job.name}: already trained", file=sys.stderr)
                continue
            print(f"[{index}/{len(jobs)}] {job.name}", file=sys.stderr)
            if _train(job, arguments.processes):
                failed.append(job.name)
        return _report([job for job in jobs if (job.directory / "recipe.toml").exists()], failed, out)


def _plan(arguments: argparse.Namespace) -> list[Job]:
    """All runs, resolved before any of them trains, so that a mistake in the last costs nothing."""
    base = [parse_set(text) for text in arguments.set]
    variants = product(arguments.over)
    resolved = [load_recipe(arguments.recipe, [*base, *variant]).resolve() for variant in variants]
    out: Path = arguments.out or new_directory(f"{resolved[0].name}-compare")
    jobs = []
    for variant, first in zip(variants, resolved, strict=True):
        first_seed = int(first.sections["trainer"].get("seed", 0))
        for seed in range(first_seed, first_seed + arguments.seeds):
            name = f"{_label(variant)}-seed{seed}"
            with_seed = Override(("trainer", "seed"), seed, "--seeds")
            recipe = load_recipe(arguments.recipe, [*base, *variant, with_seed])
            jobs.append(Job(name, recipe.resolve(), out / name))
    for job in jobs:
        _refuse_another_recipe(job)
    return jobs


def _label(variant: Sequence[Override]) -> str:
    parts = [
        str(override.value) if override.path[-1] == "name" else f"{override.path[-1]}-{override.value}"
        for override in variant
    ]
    return "-".join("".join(c if c.isalnum() or c in "-._" else "-" for c in part) for part in parts)


def _refuse_another_recipe(job: Job) -> None:
    """A directory may be used again only for the very same run."""
    existing = job.directory / "recipe.toml"
    if existing.exists() and tomllib.loads(existing.read_text("utf-8")) != tomllib.loads(
        job.resolved.to_toml()
    ):
        raise GraftworkError(
            f"--out {job.directory.parent}: {job.name} was trained there with another recipe"
        )


def _train(job: Job, processes: int) -> int:
    begun = (job.directory / "recipe.toml").exists()
    if begun:
        arguments = ["train", "--resume", str(job.directory)]
    else:
        recipe = job.directory.parent / "recipes" / f"{job.name}.toml"
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(job.resolved.to_toml(), "utf-8")
        arguments = ["train", str(recipe), "--out", str(job.directory)]
    launcher = ["-m", "graftwork"]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *launcher]
    interrupted: list[int] = []
    # Ctrl-C reaches the training too, which saves and stops; it must not be killed while it does.
    previous = signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    try:
        code = subprocess.run([sys.executable, *launcher, *arguments, "--no-report"], check=False).returncode
    finally:
        signal.signal(signal.SIGINT, previous)
    if interrupted or code < 0 or code >= 128:
        raise GraftworkError(f"{job.name}: interrupted; {_continue_hint(job.directory.parent)}")
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
