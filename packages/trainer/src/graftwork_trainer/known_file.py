"""A file of data that is known by its digest: what is read of it is what the digest is of, or refused."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from graftwork import GraftworkError
from graftwork_trainer.file_digests import forget_digests
from graftwork_trainer.files import check_given

RowT = TypeVar("RowT")
_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file and its digest.

    Args:
        path: of the file.
        sha256: of its content, as :func:`~graftwork_trainer.file_digests.digests_of` took it.
        book: where that keeps it.
    """

    path: Path
    sha256: str
    book: Path

    def read(self, reader: Callable[..., Iterator[RowT]]) -> Iterator[RowT]:
        """What a reader makes of the file, from its first byte to its last.

        Args:
            reader: is given the path, and ``opened``, which opens it once for all that it yields.

        Raises:
            GraftworkError: it is no file, or not what its digest says; so nothing is kept of what was yielded
                before the end, when that is known.
        """
        streams: list[_Digesting] = []

        def opened(path: Path) -> BinaryIO:
            check_given(path)
            streams.append(_Digesting(path))
            return io.BufferedReader(streams[-1], _BLOCK)

        yield from reader(self.path, opened=opened)
        if [stream.sha256.hexdigest() for stream in streams] != [self.sha256]:
            forget_digests(self.book)
            raise GraftworkError(
                f"{self.path}: changed since its digest was taken, as if something still writes to it; "
                "start again when nothing does"
            )


class _Digesting(io.FileIO):
    """A file whose bytes are digested as they are read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.sha256 = hashlib.sha256()

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self.sha256.update(memoryview(buffer)[:count])
        return count
