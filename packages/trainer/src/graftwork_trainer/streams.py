"""Standard output and error that a training can do without: a closed pipe or a lost terminal ends nothing."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from graftwork.standard_streams import give_up

# The others, a full disk for one, may pass.
_FOR_GOOD = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO)
_written_at = time.monotonic()


def last_written() -> float:
    """When something was last written by way of :class:`Expendable`, by the monotonic clock."""
    return _written_at


class Expendable:
    """A stream whose failures to write are nobody's concern.

    One that nothing can reach any more is turned to the null device, for what writes by its number, too.

    Args:
        stream: to write to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, where it can be."""
        global _written_at
        _written_at = time.monotonic()
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        """Flush, where it can be."""
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def __eq__(self, other: object) -> bool:
        # tqdm clears its bars before it writes to the stream that they are on.
        return isinstance(other, Expendable) and self._stream == other._stream

    def __hash__(self) -> int:
        return hash(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _failed(self, error: OSError) -> None:
        if error.errno in _FOR_GOOD:
            give_up(self._stream)


@contextmanager
def expendable_streams() -> Iterator[None]:
    """Make standard output and error expendable; what they have not taken by the end is let go."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, Expendable(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in before:
            try:
                stream.flush()
            except OSError:
                give_up(stream)
