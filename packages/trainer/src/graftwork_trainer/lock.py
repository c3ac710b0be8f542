"""One writer at a time: a lock on a run's directory, held for as long as its process lives.

The lock is the kernel's (``flock`` on ``RUN/lock``), which lets go of it however the process ends, so that a
file left behind by one that was killed locks nobody out. What stands in the file only says who holds it.
Readers need no lock: whatever they read is whole or absent. Imports no torch.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from graftwork import GraftworkError

NAME = "lock"
# Somebody who looks who holds a lock has it for a moment.
_PATIENCE_SECONDS = 0.3
_TRIES = 100
_HELD_BY_ANOTHER = (errno.EWOULDBLOCK, errno.EACCES)
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who writes into a run directory.

    Args:
        pid: of the process.
        host: that it runs on.
        started: when it took the lock, in ISO format.
    """

    pid: int
    host: str
    started: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.started}"


class RunLock:
    """The right to write into a run directory.

    Args:
        directory: of the run, made where it is missing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, RunLock(Path(folder) / "run"):
    ...     holder(Path(folder) / "run").pid == os.getpid()
    True
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file: int | None = None
        self._made_directory = False

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            GraftworkError: another process has it, and the message says which, and since when; or what is
                there is no directory.
            OSError: the directory cannot be written.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._file is None:
            file = self._opened()
            try:
                if _locked(file, fcntl.LOCK_EX) and _is_at(file, self.directory / NAME):
                    self._file, file = file, -1
                    _held.add(self)
                elif time.monotonic() > deadline:
                    raise GraftworkError(self._refusal())
                else:
                    time.sleep(0.01)
            finally:
                if file >= 0:
                    os.close(file)
        self._sign()

    def release(self) -> None:
        """Let go of it, and leave nothing behind that was only there for the lock."""
        if self._file is None:
            return
        path = self.directory / NAME
        with contextlib.suppress(OSError):
            if _is_at(self._file, path):
                path.unlink()
            if self._made_directory:
                self.directory.rmdir()  # only where nothing was written
        self._forget()

    def renew(self) -> None:
        """Take it again where its file was removed, as with the run.

        Raises:
            GraftworkError: another process took it meanwhile.
            OSError: the directory cannot be written.
        """
        if self._file is None or _is_at(self._file, self.directory / NAME):
            return
        again = RunLock(self.directory)
        again.acquire()
        os.close(self._file)
        self._file, again._file = again._file, None
        _held.discard(again)

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _opened(self) -> int:
        # Its last holder may be removing the directory: not without end, which a broken link would be.
        for _ in range(_TRIES):
            with contextlib.suppress(FileExistsError):
                self.directory.mkdir(parents=True)
                self._made_directory = True
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                return self._open()
        if os.path.lexists(self.directory) and not self.directory.is_dir():
            raise GraftworkError(
                f"run {self.directory}: is no directory, and in its place none can be made; name another"
            )
        return self._open()

    def _open(self) -> int:
        return os.open(self.directory / NAME, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o644)

    def _sign(self) -> None:
        now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        signature = json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), now))) + "\n"
        assert self._file is not None
        with contextlib.suppress(OSError):  # on a full disk nobody learns the name; the lock holds
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, signature.encode(), 0)

    def _refusal(self) -> str:
        who = _signature(self.directory / NAME) or "another process"
        return (
            f"run {self.directory}: {who}, trains in it; wait until it has ended, or name another directory "
            "with --out"
        )

    def _forget(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # whoever closes all files, as daemons do, closed it
                os.close(self._file)
            self._file = None
            _held.discard(self)


def holder(directory: Path) -> Holder | None:
    """Who writes into a run directory now; None for nobody."""
    path = directory / NAME
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return None if _locked(file, fcntl.LOCK_SH) else _signature(path)
    finally:
        os.close(file)


def renew(directory: Path) -> None:
    """Renew this process's lock of a directory or of one that it is in, if it has one; see
    :meth:`RunLock.renew`."""
    for lock in [lock for lock in _held if directory.is_relative_to(lock.directory)]:
        lock.renew()


def _locked(file: int, kind: int) -> bool:
    """Lock an open file, if nobody else has.

    Where the file system knows no locks, everybody gets one: a training is worth more than its lock.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD_BY_ANOTHER:
            return False
        if error.errno not in _NO_LOCKS_HERE:
            raise
    return True


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is still the one at a path: a holder that lets go removes it."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:  # it was removed, or a directory above it
        return False


def _signature(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


_held: set[RunLock] = set()


def _leave_to_the_parent() -> None:
    # A worker forked from the training would keep the lock of a training that was killed.
    for lock in list(_held):
        lock._forget()


os.register_at_fork(after_in_child=_leave_to_the_parent)
