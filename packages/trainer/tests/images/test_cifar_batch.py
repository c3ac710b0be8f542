"""Batches as Python 2 and 3 write them, and files that try to run code or to be read as something else."""

from __future__ import annotations

import builtins
import os
import pickle
import pickletools
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork import GraftworkError
from graftwork_trainer.images.cifar_batch import read_cifar_batch

LABELS = [0, 9, 3]
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)


def as_published(pixels: np.ndarray, labels: list[int]) -> bytes:
    """Write what cPickle of Python 2 wrote: strings are bytes, and the dictionary's keys too."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    rows = struct.pack("<i", len(pixels))
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87R("
        b"K\x01J" + rows + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(pixels.tobytes()) + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return (
        b"\x80\x02}(U\x04data" + array + b"U\x06labels" + numbers + b"U\x0bbatch_label" + text(b"x") + b"u."
    )


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    return tmp_path / "data_batch_1"


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_python_3_pickles(batch: Path, protocol: int, order: Any) -> None:
    content = {b"data": np.array(PIXELS, order=order), b"labels": LABELS, b"filenames": [b"a", "b"]}
    batch.write_bytes(pickle.dumps(content, protocol))
    pixels, labels = read_cifar_batch(batch)
    np.testing.assert_array_equal(pixels, PIXELS)
    assert labels == LABELS


def test_what_was_published(batch: Path) -> None:
    batch.write_bytes(as_published(PIXELS, LABELS))
    assert pickle.loads(batch.read_bytes(), encoding="bytes")[b"labels"] == LABELS
    pixels, labels = read_cifar_batch(batch)
    np.testing.assert_array_equal(pixels, PIXELS)
    assert labels == LABELS


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize(
    "function", [os.system, builtins.eval, np.load, np.save, getattr, np.memmap, pickle.loads]
)
def test_nothing_that_a_file_names_is_run(batch: Path, function: Any) -> None:
    marker = batch.with_name("marker")
    batch.write_bytes(pickle.dumps({b"data": Calls(function, f"touch {marker}"), b"labels": LABELS}, 2))
    with pytest.raises(GraftworkError, match=r"data_batch_1: .* arrays only, and this one names \w+"):
        read_cifar_batch(batch)
    assert not marker.exists()


def test_bytes_do_not_become_addresses(batch: Path) -> None:
    # With this state numpy's own types make an array of objects out of bytes, and a crash or worse of it.
    published = as_published(PIXELS, LABELS)
    batch.write_bytes(published.replace(b"U\x02u1", b"U\x02O8"))
    with pytest.raises(GraftworkError, match="no array of unsigned bytes"):
        read_cifar_batch(batch)


BOMB = b"\x80\x02]" + b"".join(b"q\x00](" + b"h\x00" * 9 + b"e" for _ in range(60)) + b"."


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"\x80\x02N.",
        b"\x80\x02](.",
        b"\x80\x02h\x07.",
        b"\x80\x02e.",
        BOMB,
        b"\x80\x02" + b"](" * 50_000 + b".",
        # A memo with room for two thousand million entries, most of which this machine's memory would hold.
        b"\x80\x02]r\xff\xff\xff\x7f.",
        b"\x80\x02P1\n.",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b".",
        pickle.dumps({b"data": PIXELS, b"labels": [0, 10, 3]}, 2),
        pickle.dumps({b"data": PIXELS, b"labels": [0]}, 2),
        pickle.dumps({b"data": PIXELS.astype(np.int64), b"labels": LABELS}, 2),
        as_published(PIXELS, LABELS)[:-4000],
    ],
    ids=range(15),
)
def test_what_is_no_batch_is_one_sentence(batch: Path, content: bytes) -> None:
    batch.write_bytes(content)
    with pytest.raises(GraftworkError, match=r"data_batch_1: is not a CIFAR-10 batch \(.*\); fetch it again"):
        read_cifar_batch(batch)


def test_no_byte_of_a_batch_can_do_more_than_be_refused(batch: Path) -> None:
    # Everything but the pixels, each byte replaced by several others. Another error would end the test.
    published = as_published(PIXELS[:1], LABELS[:1])
    head = published.index(PIXELS[:1].tobytes())
    read = 0
    for place in [*range(head), *range(head + PIXELS[0].nbytes, len(published))]:
        for value in (0, 46, 82, 98, 99, 255):
            batch.write_bytes(published[:place] + bytes([value]) + published[place + 1 :])
            with suppress(GraftworkError):
                pixels, labels = read_cifar_batch(batch)
                assert (pixels.shape, len(labels)) == ((1, 3072), 1)
                read += 1
    assert 0 < read < 1000


def test_what_is_written_here_as_published_is_a_pickle_of_protocol_2() -> None:
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(as_published(PIXELS, LABELS))) == 2
