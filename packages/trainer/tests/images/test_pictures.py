"""Pictures of one size, and files that are none or would unpack to more than they look like."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest

from graftwork import GraftworkError
from graftwork_trainer.images.pictures import read_pictures

pytest.importorskip("PIL")


def png(
    width: int = 4, height: int = 2, *, bits: int = 8, rows: bytes | None = None, text: bytes = b""
) -> bytes:
    """Grey, and black where no rows are given."""
    content = (b"\0" + bytes(width * bits // 8)) * height if rows is None else rows
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))]
    chunks += [(b"zTXt", b"a\0\0" + zlib.compress(text))] if text else []
    chunks += [(b"IDAT", zlib.compress(content)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_values_lie_between_0_and_1_at_eight_and_at_sixteen_bits(tmp_path: Path) -> None:
    (tmp_path / "8.png").write_bytes(png(2, 1, rows=b"\0\x00\xff"))
    (tmp_path / "16.png").write_bytes(png(2, 1, bits=16, rows=b"\0\x00\x00\x80\x00"))
    found = read_pictures([tmp_path / "8.png", tmp_path / "16.png"])
    assert found.shape == (2, 3, 1, 2)
    np.testing.assert_allclose(found[0], np.broadcast_to([0, 1], (3, 1, 2)))
    np.testing.assert_allclose(found[1], np.broadcast_to([0, 0x8000 / 0xFFFF], (3, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a PNG or JPEG picture"),
        (b"GIF89a\1\0\1\0\0\0\0;", r"cannot be read .*\(it does not begin as one"),
        (png()[:-20], "cannot be read as a PNG or JPEG picture"),
        (png()[:20], "cannot be read as a PNG or JPEG picture"),
        (png()[:29] + bytes(4) + png()[33:], "cannot be read as a PNG or JPEG picture"),
        (png(text=bytes(2 << 20)), "cannot be read as a PNG or JPEG picture"),
        (png(9, 2), r"has 9 x 2 pixels and .*first.png has 4 x 2; the pictures must be of one size"),
        (png(5_000, 5_000, rows=b"\0"), "has 5,000 x 5,000 pixels, and at most 16,777,216 are read"),
        (png(10_000, 10_000, rows=b"\0"), "has 10,000 x 10,000 pixels"),
        (png(60_000, 60_000, rows=b"\0"), r"cannot be read .*\(it has more than 16,777,216 pixels"),
    ],
)
def test_a_picture_that_is_none_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    first.write_bytes(png())
    second.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(GraftworkError, match=f"{second}: {message}"):
            read_pictures([first, second])
