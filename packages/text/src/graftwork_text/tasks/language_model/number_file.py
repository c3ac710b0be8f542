"""A row of unsigned numbers that grows on disk, to be mapped when it is whole."""

from __future__ import annotations

import hashlib
import io
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class NumberFile(AbstractContextManager["NumberFile"]):
    """Writes a ``.npy`` file of one dimension piece by piece; whole when it is left.

    Args:
        file: to be written.
        dtype: unsigned, of the file.

    Raises:
        OSError: it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with NumberFile(Path(folder, "a.npy"), np.uint16) as numbers:
    ...         numbers.append(np.arange(3))
    ...         numbers.append(np.arange(2))
    ...     mapped(Path(folder, "a.npy")).tolist()
    [0, 1, 2, 0, 1]
    """

    def __init__(self, file: Path, dtype: type[np.unsignedinteger[Any]]) -> None:
        self._dtype = np.dtype(dtype)
        self._stream = file.open("wb")
        self._stream.write(self._header(0))
        self._digest = hashlib.sha256()
        self.count = 0

    def append(self, numbers: NDArray[Any]) -> None:
        """Write some more."""
        self._stream.write(numbers.astype(self._dtype).tobytes())
        # In one width and order of bytes, whatever the file has.
        self._digest.update(numbers.astype("<u4").tobytes())
        self.count += len(numbers)

    @property
    def sha256(self) -> str:
        """Digest of the numbers so far, each as four bytes with the lowest first."""
        return self._digest.hexdigest()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stream:
            self._stream.seek(0)
            self._stream.write(self._header(self.count))

    def _header(self, count: int) -> bytes:
        """The file's beginning, equally long for any count: numpy leaves room for it to grow."""
        header = io.BytesIO()
        fields = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (count,),
        }
        np.lib.format.write_array_header_1_0(header, fields)
        return header.getvalue()


def mapped(file: Path) -> NDArray[np.unsignedinteger]:
    """Map an array of the one format that holds numbers alone; :func:`numpy.load` knows others.

    Raises:
        ValueError: it is no row of unsigned numbers.
        OSError: it cannot be read.
    """
    array: NDArray[np.unsignedinteger] = np.lib.format.open_memmap(file, mode="r")
    if array.ndim != 1 or array.dtype.kind != "u":
        raise ValueError(f"{file} must hold a list of unsigned numbers, got {array.dtype}{list(array.shape)}")
    return array
