"""What is left of a training that failed: a result that says why, a sentence where no code is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from graftwork import GraftworkError, Interrupted
from graftwork_trainer.causes import cause_of

if TYPE_CHECKING:
    from graftwork_trainer.run_directory import RunDirectory

# How torch's allocator for CPUs words it, in a RuntimeError without a type of its own.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


@contextmanager
def recorded_failure(run: RunDirectory, task: object) -> Iterator[None]:
    """Note in the run why it failed. What a programmer has to mend keeps its traceback.

    Args:
        run: that is trained.
        task: of the run; a failure in one of its methods is said to be there.

    Raises:
        GraftworkError: there is no memory left, a file could not be written, or a plugin's code asked the
            process to exit, be it with 0: a training that did not end by itself has failed.
    """
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        run.fail("ended at once by a signal", status="interrupted")
        raise
    except GraftworkError as error:
        run.fail(str(error))
        raise
    except BaseException as error:
        reason = _reason(error, task)
        if _is_out_of_memory(error):
            reason = (
                f"out of memory{_place(error, task)}: {_first_line(error)}; take a smaller batch, with more "
                "trainer.accumulate where it has that, or a smaller model"
            )
        run.fail(reason)
        if _is_out_of_memory(error) or isinstance(error, SystemExit):
            raise GraftworkError(reason) from error
        if isinstance(error, OSError) and error.filename is None and not _place(error, task):
            # A write to a file of the run.
            raise GraftworkError(f"{run.directory}: {cause_of(error)}") from error
        raise


def _reason(error: BaseException, task: object) -> str:
    return f"{type(error).__name__}{_place(error, task)}: {_first_line(error)}"


def _place(error: BaseException, task: object) -> str:
    """Which of the task's methods the trainer had called."""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_locals.get("self") is task:
            return f" in the task's {frame.f_code.co_name}"
        traceback = traceback.tb_next
    return ""


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "(no message)")
