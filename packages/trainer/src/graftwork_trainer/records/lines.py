"""Lines of a file of text as bytes: numbered, without a byte order mark, and surely text.

Bytes, since of a long line with a single emoji the text takes four times as much memory as they do: a reader
takes its fields apart first.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from graftwork import GraftworkError
from graftwork_trainer.files import not_readable, open_given

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def opened(path: Path) -> BinaryIO:
    """The file, to be read as bytes.

    Raises:
        GraftworkError: it is missing, no file, or cannot be opened.
    """
    return open_given(path)


def numbered_lines(path: Path, *, opened: Callable[[Path], BinaryIO] = opened) -> Iterator[tuple[int, bytes]]:
    r"""The lines of a file with their ends (``\n``, ``\r\n`` or ``\r``), each with its number from 1.

    Args:
        path: of the file.
        opened: opens it; who needs to see all bytes as well gives a function of its own.

    Raises:
        GraftworkError: it cannot be read, is UTF-16, or holds a NUL byte.
    """
    number = 0
    try:
        with opened(path) as stream:
            for line in stream:
                parts = _parted(line if number else without_mark(line, path))[::-1]
                del line
                while parts:
                    number += 1
                    if b"\0" in parts[-1]:
                        raise GraftworkError(
                            f"{path}, line {number}: holds a NUL byte, which no text does; the file is "
                            "damaged, or UTF-16 and to be saved as UTF-8"
                        )
                    # Handed over and not kept: whoever takes it can let go of a long one.
                    yield number, parts.pop()
    except OSError as error:
        raise not_readable(path, error) from error


def without_mark(start: bytes, path: Path) -> bytes:
    """The start of a file without UTF-8's byte order mark.

    Raises:
        GraftworkError: it has that of UTF-16 (or UTF-32, which begins alike).
    """
    if start.startswith(_WIDE_MARKS):
        raise GraftworkError(f"{path}: is UTF-16 by its byte order mark; save it as UTF-8")
    return start.removeprefix(codecs.BOM_UTF8)


def decoded(content: bytes | bytearray, place: str) -> str:
    """Text of UTF-8.

    Args:
        content: of a line, or a part of it.
        place: of the line, for the message.

    Raises:
        GraftworkError: it is in another encoding.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GraftworkError(
            f"{place}: not UTF-8 text (byte 0x{content[error.start]:02x}: {error.reason}); convert it to "
            "UTF-8"
        ) from error


def whole_text(path: Path) -> str:
    """The text of a file, with ``\\n`` at the end of every line.

    Raises:
        GraftworkError: it cannot be read, or is in another encoding.
    """
    lines = (decoded(line, f"{path}, line {number}") for number, line in numbered_lines(path))
    return io.StringIO("".join(lines), newline=None).read()


def not_utf8(path: Path | str, error: UnicodeDecodeError) -> GraftworkError:
    """What to say of a file in another encoding."""
    return GraftworkError(f"{path}: not UTF-8 text (byte {error.start}: {error.reason}); convert it to UTF-8")


def _parted(line: bytes) -> list[bytes]:
    r"""What stands between lone ``\r``, at which old Macintosh files end their lines."""
    return line.splitlines(keepends=True) if line.count(b"\r") > line.endswith((b"\r", b"\r\n")) else [line]
