"""``graftwork train``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork import GraftworkError, Override, Recipe, get_registry, load_recipe, parse_set
from graftwork.errors import Mistakes
from graftwork.overrides import parse_sets
from graftwork.readable import readable
from graftwork.resolution import Resolved
from graftwork_trainer.claim import claimed
from graftwork_trainer.commands.resumed_recipe import load_resumed
from graftwork_trainer.heap import keep_freed_memory
from graftwork_trainer.option_mistakes import ranges_told
from graftwork_trainer.own_code import absence_named
from graftwork_trainer.streams import expendable_streams
from graftwork_trainer.waiting import Watch, doing

if TYPE_CHECKING:
    from graftwork_trainer.report import RunRecord


def directory_argument(text: str) -> Path:
    """A directory on the command line: nothing, which a variable that was not set leaves, is none."""
    if not text:
        raise argparse.ArgumentTypeError("must name a directory, got ''")
    return Path(text)


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """The option that several commands share."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="put a value over the recipe's: optimizer.lr=3e-4",
    )


class TrainCommand:
    """Train one recipe in a run directory."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "recipe", nargs="?", metavar="RECIPE", help="a registered recipe's name, or a .toml file"
        )
        add_set_option(parser)
        parser.add_argument(
            "--out",
            type=directory_argument,
            metavar="DIR",
            help="run directory (default: runs/RECIPE-TIME)",
        )
        parser.add_argument(
            "--resume", type=directory_argument, metavar="DIR", help="continue the run in this directory"
        )
        parser.add_argument(
            "--allow",
            action="append",
            default=[],
            metavar="NAME",
            help="with --resume: go on although NAME (data, seed, optimizer, …) is another than before",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="check everything, print sizes and memory, train nothing"
        )
        parser.add_argument("--quiet", action="store_true", help="no progress bar")
        parser.add_argument("--no-report", action="store_true", help="no table and no page at the end")

    def more_help(self, arguments: argparse.Namespace) -> Iterator[str]:
        """Every option of the recipe, as the command line has it."""
        from graftwork.recipe_options import recipe_lines

        if arguments.recipe or arguments.resume:
            reference = _reference(arguments)
            recipe = _recipe(arguments, reference, [parse_set(text) for text in arguments.set])
            yield ""
            yield f"options of {reference}, for --set or a recipe of your own (`graftwork new recipe`):"
            yield from recipe_lines(recipe, get_registry())

    def run(self, arguments: argparse.Namespace) -> int:
        reference = _reference(arguments)
        if arguments.dry_run:
            from graftwork_trainer.dry_run import describe

            resolved, resume = _resolved(arguments, reference), bool(arguments.resume)
            with Watch(shown=not arguments.quiet), doing("checking what the training needs"):
                told = describe(
                    resolved, arguments.resume or arguments.out, resume=resume, allow=arguments.allow
                )
            print(told)
            return 0
        directory, resume = arguments.resume or arguments.out, bool(arguments.resume)
        main = not int(os.environ.get("RANK", "0"))
        with (
            expendable_streams(),
            claimed(directory, resume=resume) if directory else nullcontext(),
            Watch(shown=main and not arguments.quiet),
        ):
            with doing("loading torch and what the recipe names"):
                resolved = _resolved(arguments, reference)
                # The process is this training's alone, unlike one that calls `train` from Python.
                keep_freed_memory()
                from graftwork_trainer.training import train_resolved

            trained = train_resolved(
                resolved, directory, resume=resume, allow=arguments.allow, quiet=arguments.quiet
            )
            if main and not arguments.no_report:
                print_report([trained.run], trained.run, title=trained.run.name)
        return 0


def print_report(runs: Sequence[Path | RunRecord], output: Path, *, title: str) -> None:
    """Write the page and the figures, print the table, and say where the page lies."""
    from graftwork_trainer.report import print_table, read_run, write_report

    with doing("writing the report"):
        # A run may be named twice, by itself and by a folder that it is in.
        by_place = {(run if isinstance(run, Path) else run.path).resolve(): run for run in runs}
        records = [read_run(run) if isinstance(run, Path) else run for run in by_place.values()]
        report = write_report(records, output, title=title)
    print_table(records)
    print(f"report: {readable(str(report.page))}")


def _resolved(arguments: argparse.Namespace, reference: str) -> Resolved:
    mistakes = Mistakes()
    overrides = parse_sets(arguments.set, mistakes)
    resolved: list[Resolved] = []
    absence = absence_named(arguments.resume) if arguments.resume else nullcontext()
    with mistakes.noted(), absence, ranges_told():
        resolved.append(_recipe(arguments, reference, overrides).resolve())
    mistakes.refuse(reference)
    return resolved[0]


def _recipe(arguments: argparse.Namespace, reference: str, overrides: Sequence[Override]) -> Recipe:
    return load_resumed(reference, overrides) if arguments.resume else load_recipe(reference, overrides)


def _reference(arguments: argparse.Namespace) -> str:
    if arguments.resume is None:
        if arguments.allow:
            raise GraftworkError("--allow is for --resume: a new run has nothing that it could differ from")
        if arguments.recipe is None:
            raise GraftworkError("train needs a RECIPE (`graftwork list recipe` shows some) or --resume DIR")
        return str(arguments.recipe)
    if arguments.recipe or arguments.out:
        raise GraftworkError(
            "--resume takes the recipe and the directory from the run: give neither RECIPE nor --out"
        )
    recipe = arguments.resume / "recipe.toml"
    if not recipe.is_file():
        raise GraftworkError(f"--resume {arguments.resume}: is no run directory, it has no recipe.toml")
    return str(recipe)
