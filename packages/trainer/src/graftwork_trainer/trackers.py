"""Where metrics go: a JSON-lines file, which is the record, and TensorBoard, which is for looking at.

TensorBoard is an extra: without it the record is all there is. A training can do without both: what could not
be written raises ``OSError``, for the caller to tell.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from graftwork import Choice, Kind
from graftwork.resolution import choose
from graftwork_trainer.plain_json import to_json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_BLOCK = 1 << 20


class JsonLines:
    """Appends one flat JSON object a line, at once.

    What cannot be written, on a full disk for one, is tried again with the next line. A file that was removed
    is made again with all that was in it.

    Args:
        path: the file; what it holds beyond ``keep_to_step`` (written after the checkpoint that a resumed run
            starts from) and what is no record (torn by a kill) is cut off.

    Raises:
        OSError: it is there and cannot be read.
    """

    def __init__(self, path: Path, keep_to_step: int) -> None:
        self._path, self._keep_to_step = path, keep_to_step
        # Held open until its records are in the new file: it may be removed before there is room for one.
        self._before = _opened(path)
        self.last: dict[str, Any] = {}
        for record, _ in self._kept():
            self.last = record
        self._file: BinaryIO | None = None
        self._unwritten = b""

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line.

        Raises:
            OSError: it could not be written yet.
        """
        self._unwritten += _line({"step": step, **metrics})
        self.write()

    def write(self) -> None:
        """Write what is not written yet.

        Raises:
            OSError: it still cannot be.
        """
        if self._file is None:
            self._file = _begun(self._path, (line for _, line in self._kept()))
            if self._before is not None:
                self._before.close()
        elif not _is_at(self._file, self._path):
            # A removed file can be read for as long as it is open.
            self._file.seek(0)
            again = _begun(self._path, iter(partial(self._file.read, _BLOCK), b""))
            self._file.close()
            self._file = again
        while self._unwritten:
            self._unwritten = self._unwritten[self._file.write(self._unwritten) :]

    def close(self) -> None:
        """Bring everything to the disk.

        Raises:
            OSError: some of it could not be.
        """
        try:
            self.write()
            assert self._file is not None
            os.fsync(self._file.fileno())
        finally:
            for file in (self._file, self._before):
                if file is not None:
                    file.close()

    def _kept(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The records of before with their lines, one by one: a long training has too many for memory."""
        if self._before is not None:
            self._before.seek(0)
            for record, line in _records(self._before):
                if record["step"] <= self._keep_to_step:
                    yield record, line


class Tracker(Protocol):
    """Where metrics go beside the record; built in every process, and called in the first alone.

    One that raises is told once and asked no more: training goes on without it.
    """

    def open(self, run: Path, step: int, recipe: Mapping[str, Any]) -> None:
        """Begin, or go on with what is there as far as a step; what was recorded beyond it did not happen.

        Args:
            run: the run's directory.
            step: that the run goes on from, 0 at its beginning.
            recipe: as resolved, section by section.
        """
        ...

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in what the record has of a step, ``train/loss`` and ``seconds`` for instance."""
        ...

    def close(self) -> None:
        """Bring everything to where it goes; called once, if it was opened."""
        ...


class JsonLinesElsewhere:
    """The lines of ``metrics.jsonl`` in a further file.

    Args:
        path: of the file, within the run's directory unless it is absolute.

    Raises:
        ValueError: it is the record.
    """

    def __init__(self, path: Path) -> None:
        if path.name == "metrics.jsonl":
            raise ValueError("path: metrics.jsonl is written without it; name another file")
        self._path = path

    def open(self, run: Path, step: int, recipe: Mapping[str, Any]) -> None:
        """Cut off what is beyond the step, and go on.

        Raises:
            OSError: the file cannot be read or written.
        """
        self._lines = JsonLines(run / self._path, step)
        self._lines.write()

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line."""
        self._lines.record(step, metrics)

    def close(self) -> None:
        """Bring everything to the disk."""
        self._lines.close()


class TensorBoard:
    """Scalars for ``tensorboard --logdir RUN/tensorboard``; nothing where tensorboard is not installed.

    It is imported with the first of them, so that no first step waits for it.
    """

    def open(self, run: Path, step: int, recipe: Mapping[str, Any]) -> None:
        """Go on from a step: what is there beyond it is passed over.

        Raises:
            OSError: the directory cannot be made.
        """
        self._directory, self._keep_to_step = run / "tensorboard", step
        self._awaited = find_spec("tensorboard") is not None
        self._writer: SummaryWriter | None = None
        if self._awaited:
            self._directory.mkdir(exist_ok=True)

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write every metric as a scalar.

        Raises:
            OSError: the directory cannot be written, or an earlier one could not; from here on none is.
        """
        if self._awaited:
            self._awaited = False
            self._writer = self._opened()
        if self._writer is None:
            return
        try:
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)
        except Exception as error:
            self._writer = None
            raise _refused(error) from error

    def _opened(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        _keep_writer_threads_quiet()
        # To import it took seconds. Removed since then, the run is no more, or another's.
        self._directory.stat()
        return SummaryWriter(str(self._directory), purge_step=self._keep_to_step + 1)

    def close(self) -> None:
        """Flush and stop the writer's thread.

        Raises:
            OSError: something could not be written.
        """
        if self._writer is not None:
            try:
                self._writer.close()
            except Exception as error:
                raise _refused(error) from error


def built_trackers(named: Sequence[Choice | str]) -> list[tuple[str, Tracker]]:
    """Build those of a recipe.

    Returns:
        Each with its name.

    Raises:
        GraftworkError: one is not known, or refuses its options.
    """
    choices = [choose(Kind.TRACKER, one) if isinstance(one, str) else one for one in named]
    return [(choice.name, choice()) for choice in choices]


def _refused(error: Exception) -> OSError:
    """Whatever TensorBoard's writer ended with, as an error of the system."""
    return OSError(error.errno, error.strerror) if isinstance(error, OSError) else OSError(str(error))


def _keep_writer_threads_quiet() -> None:
    """Have no traceback printed for a thread of TensorBoard's: the next record raises what it ended with."""
    before = threading.excepthook
    if before.__module__ == __name__:
        return

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not type(failed.thread).__module__.startswith("tensorboard."):
            before(failed)

    threading.excepthook = hook


def _opened(path: Path) -> BinaryIO | None:
    if not path.exists():
        return None
    if not path.is_file():  # to open a pipe would wait for ever
        raise OSError(errno.EINVAL, "is no file", str(path))
    return path.open("rb")


def _records(lines: Iterable[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    for line in lines:
        try:
            record = json.loads(line)
            whole = _line(record)
        except (ValueError, RecursionError):  # torn by a kill, or damaged
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            yield record, whole


def _line(record: Mapping[str, Any]) -> bytes:
    return to_json(record, indent=None).encode()


def _begun(path: Path, content: Iterable[bytes]) -> BinaryIO:
    """Put a file in place, whole or not at all, and open it to go on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".partial")
    with draft.open("wb") as file:
        file.writelines(content)
    draft.rename(path)
    return path.open("ab+", buffering=0)


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
