"""What is left of a training that failed: a result that says why, a sentence where no code is wrong."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from graftwork import GraftworkError, Interrupted, Kind, get_registry
from graftwork.faults import Fault, Origin, origin_of, sentence_of
from graftwork.plugin_code import said_by
from graftwork.registry import Entry
from graftwork.schema import schema_of
from graftwork_trainer.causes import cause_of
from graftwork_trainer.checkpoint.ranks import rank_and_size

if TYPE_CHECKING:
    from graftwork.resolution import Resolved
    from graftwork_trainer.run_directory import RunDirectory

# How torch's allocator for CPUs words it, in a RuntimeError without a type of its own.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


@contextmanager
def recorded_failure(run: RunDirectory, recipe: Resolved, task: object, trainer: object) -> Iterator[None]:
    """Note in the run why it failed, and tell it in one sentence.

    Args:
        run: that is trained.
        recipe: of the training, whose components are named.
        task: as it was built.
        trainer: as it was built.

    Raises:
        Fault: somebody's code raised an exception, or asked the process to exit, be it with 0: a training
            that did not end by itself has failed. The run keeps the traceback.
        GraftworkError: there is no memory left, a file could not be written, or an option does not fit the
            data.
    """
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        run.fail("ended at once by a signal", status="interrupted")
        raise
    except BaseException as error:
        failure = failure_of(error, recipe, task, trainer, run.directory)
        run.fail(_of_file(failure) if isinstance(failure, OSError) else str(failure))
        if isinstance(failure, Fault):
            failure = Fault(f"{failure}{_kept(error, run)}")
        if failure is error:
            raise
        raise failure from error


@contextmanager
def told_failure(recipe: Resolved, task: object, trainer: object, directory: Path) -> Iterator[None]:
    """Tell what a training would end with in the sentence of :func:`recorded_failure`, where no run keeps it.

    Args:
        recipe: of the training.
        task: as it was built.
        trainer: as it was built.
        directory: of the run that there would be.
    """
    try:
        yield
    except (Interrupted, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        failure = failure_of(error, recipe, task, trainer, directory)
        if failure is error:
            raise
        if isinstance(failure, Fault):
            failure = Fault(f"{failure}; GRAFTWORK_DEBUG=1 shows the traceback")
        raise failure from error


def _of_file(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}"


def failure_of(
    error: BaseException, recipe: Resolved, task: object, trainer: object, directory: Path
) -> BaseException:
    """What to raise in place of an exception that a training ended with: itself where it is told as it is.

    Args:
        error: that it ended with.
        recipe: of the training, whose components are named.
        task: as it was built.
        trainer: as it was built.
        directory: of the run.
    """
    if isinstance(error, GraftworkError):
        return error
    entries = [choice.entry for choice in recipe.choices()]
    objects = [(task, recipe.task.entry), (trainer, recipe.trainer.entry)]
    refusal = _refusal(error, origin_of(error, chosen=entries, objects=objects), directory)
    if refusal is not None:
        return GraftworkError(refusal)
    if isinstance(error, OSError) and error.filename is not None:
        return error
    return Fault(sentence_of(error, chosen=entries, objects=objects))


def exception_of(error: BaseException) -> Exception | None:
    """What somebody's code raised, of the fault that an error tells of, with its sentence as a note.

    Returns:
        None where the error is no such fault, and is to be told as it is.
    """
    fault: BaseException | None = error
    while fault is not None and not isinstance(fault, Fault):
        fault = fault.__cause__
    raised = None if fault is None else fault.__cause__
    if not isinstance(raised, Exception) or isinstance(raised, GraftworkError):
        return None
    raised.add_note(str(fault))
    return raised


def _refusal(error: BaseException, origin: Origin, directory: Path) -> str | None:
    """What the user can mend, as a sentence; None for a fault of code, and for a file that is named."""
    where = "" if origin.entry is None else f" in {origin.entry.full_reference}"
    if _is_out_of_memory(error):
        return (
            f"out of memory{where}{f', {origin.at}' if origin.at else ''}: {_first_line(error)}; take a "
            "smaller batch, with more trainer.accumulate where it has that, or a smaller model"
        )
    trainers = origin.entry is None or origin.entry.component.kind == Kind.TRAINER
    if isinstance(error, OSError) and error.filename is None and trainers and _is_ours(error, origin):
        # A write to a file of the run.
        return f"{directory}: {cause_of(error)}"
    if isinstance(error, ValueError) and origin.entry is not None and _is_of_an_option(error, origin.entry):
        return f"{origin.entry.component.kind}.{_first_line(error)}"
    return None


def _is_ours(error: OSError, origin: Origin) -> bool:
    """Whether this package's code met it, and not that of the component."""
    packages = (str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__))
    both = {__package__, origin.module.partition(".")[0]}
    met = [package for name in packages if (package := name.partition(".")[0]) in both]
    return met[-1:] == [__package__]


def _is_of_an_option(error: ValueError, entry: Entry) -> bool:
    """Whether it begins with the name of an option, as that of a constructor does."""
    registry = get_registry()
    known = schema_of(registry.resolve(entry), registry.kinds[entry.component.kind]).options
    return _first_line(error).partition(" ")[0] in known


def _kept(error: BaseException, run: RunDirectory) -> str:
    """Keep the traceback, and say where it is."""
    file = run.directory / ("traceback.txt" if run.main else f"traceback-{rank_and_size()[0]}.txt")
    try:
        text = "".join(traceback.format_exception(error))
        file.write_text(text, encoding="utf-8", errors="backslashreplace")  # a name of a file may be no UTF-8
    except OSError:
        return "; GRAFTWORK_DEBUG=1 shows the traceback"
    return f"; the traceback is in {file}"


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in said_by(error) for words in _NO_MEMORY)


def _first_line(error: BaseException) -> str:
    return next((line for line in said_by(error).splitlines() if line.strip()), "(no message)")
