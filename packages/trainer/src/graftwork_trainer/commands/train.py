"""``graftwork train``."""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork import GraftworkError, load_recipe, parse_set
from graftwork.resolution import Resolved
from graftwork_trainer.heap import keep_freed_memory

if TYPE_CHECKING:
    from graftwork_trainer.run_directory import RunDirectory


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
            "--out", type=Path, metavar="DIR", help="run directory (default: runs/RECIPE-TIME)"
        )
        parser.add_argument("--resume", type=Path, metavar="DIR", help="continue the run in this directory")
        parser.add_argument(
            "--dry-run", action="store_true", help="check everything, print sizes and memory, train nothing"
        )
        parser.add_argument("--quiet", action="store_true", help="no progress bar")
        parser.add_argument("--no-report", action="store_true", help="no table and no page at the end")

    def run(self, arguments: argparse.Namespace) -> int:
        reference = _reference(arguments)
        recipe = load_recipe(reference, [parse_set(text) for text in arguments.set])
        resolved = recipe.resolve()
        if arguments.dry_run:
            from graftwork_trainer.dry_run import describe

            print(describe(resolved))
            return 0
        # The process is this training's alone, unlike one that calls `train` from Python.
        keep_freed_memory()
        directory = train(
            resolved, arguments.resume or arguments.out, resume=bool(arguments.resume), quiet=arguments.quiet
        )
        if directory is not None and not arguments.no_report:
            print_report([directory], directory, title=directory.name)
        return 0


def train(resolved: Resolved, directory: Path | None, *, resume: bool, quiet: bool) -> Path | None:
    """Train a resolved recipe under the process group that torchrun describes, if any.

    Args:
        resolved: checked.
        directory: of the run; None for a new one named after the recipe and the time.
        resume: go on from the directory's newest checkpoint.
        quiet: no progress bar.

    Returns:
        The run's directory on rank 0, None on the others.
    """
    from graftwork_trainer.environment import describe_environment
    from graftwork_trainer.parallel import process_group
    from graftwork_trainer.run_directory import RunDirectory

    trainer = resolved.trainer()
    connects_itself = getattr(trainer, "connects_itself", False)
    if connects_itself and directory is None:
        raise GraftworkError(
            "--out DIR is missing: processes that are to go on without each other cannot agree on a directory"
        )
    with nullcontext() if connects_itself else process_group():
        rank = int(os.environ.get("RANK", "0"))
        directory = _agreed(directory or new_directory(resolved.name))
        task = resolved.task()
        run = RunDirectory(directory, resolved, describe_environment(), resume=resume, rank=rank, quiet=quiet)
        with _recorded_failure(run):
            trainer.fit(task, resolved, run)
    return directory if rank == 0 else None


def print_report(runs: Sequence[Path], output: Path, *, title: str) -> None:
    """Write the page and the figures, print the table, and say where the page lies."""
    from graftwork_trainer.report import print_table, read_run, write_report

    report = write_report(runs, output, title=title)
    print_table([read_run(run) for run in runs])
    print(f"report: {report.page}")


def _reference(arguments: argparse.Namespace) -> str:
    if arguments.resume is None:
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


def new_directory(name: str) -> Path:
    """``runs/NAME-TIME``, which sorts by time."""
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def _agreed(directory: Path) -> Path:
    """The directory that rank 0 chose: clocks differ between ranks."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return directory
    chosen = [directory]
    dist.broadcast_object_list(chosen)
    return chosen[0]


@contextmanager
def _recorded_failure(run: RunDirectory) -> Iterator[None]:
    """Note in the run why it failed, and let a full disk or a missing file end as one sentence."""
    try:
        yield
    except GraftworkError as error:
        run.fail(str(error))
        raise
    except OSError as error:
        run.fail(str(error))
        if error.filename is None:  # a write to a file of the run, which names no file
            raise GraftworkError(f"{run.directory}: {error.strerror or error}") from error
        raise
