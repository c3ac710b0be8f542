"""Data files that are damaged, or are not what they are called: of every kind that a task reads.

Each is written into a folder of its own. To try another, add a line: all tasks that read its kind get it.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

Written = bytes | Callable[[Path], None]
"""The content of a file, or what makes something in its place."""

DEEP = b"[" * 100_000
_TEXT = b"Here stands a house, and it is red. "
_PICKLES = {
    "protocol 0": pickle.dumps([1], 0),
    "a number": pickle.dumps(3),
    "a call": b"cos\nsystem\n(S'id'\ntR.",
}


def a_folder(path: Path) -> None:
    path.mkdir()


def a_broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def a_circle(path: Path) -> None:
    path.symlink_to(path.name)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def an_unreadable_file(path: Path) -> None:
    """Of which the system says EIO, to root as well."""
    path.symlink_to("/proc/self/mem")


OF_ANY_KIND: Mapping[str, Written] = {
    "empty": b"",
    "zeros": bytes(4096),
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "zipped": gzip.compress(_TEXT * 50),
    "a folder": a_folder,
    "a broken link": a_broken_link,
    "a circle": a_circle,
    "a pipe": a_pipe,
    "unreadable": an_unreadable_file,
}
"""In the place of a file that is needed."""

TEXTS: Mapping[str, Written] = {
    **OF_ANY_KIND,
    "blank": b"\n \n\t\n\f\n",
    "one word": b"word",
    "marks alone": b"<|endoftext|>\n<|endoftext|>\n",
    "a byte order mark alone": b"\xef\xbb\xbf",
    "UTF-16": _TEXT.decode().encode("utf-16"),
    "UTF-16 without a mark": (_TEXT * 9).decode().encode("utf-16-le"),
    "UTF-32": _TEXT.decode().encode("utf-32"),
    "Latin-1": "Où est la maison bleue ? Là-bas.\n\n".encode("latin-1") * 20,
    "cut within a character": (_TEXT + b"\n\n") * 20 + "é".encode()[:1],
    "a surrogate": (_TEXT + b"\n\n") * 20 + b"\xed\xa0\xbd",
    "a NUL byte": (_TEXT + b"\n\n") * 20 + b"\0",
}
TABLES: Mapping[str, Written] = {
    **OF_ANY_KIND,
    "a header alone": b"text{s}label\n",
    "no header": b"good{s}1\nbad{s}0\n",
    "a field too few": b"text{s}label\ngood{s}1\nbad\n",
    "a field too many": b"text{s}label\ngood{s}1\nbad{s}0{s}x\n",
    "a name twice": b"text{s}text{s}label\na{s}b{s}1\n",
    "an open quotation mark": b'text{s}label\n"good{s}1\nbad{s}0\n',
    "text after a quotation mark": b'text{s}label\n"good"x{s}1\nbad{s}0\n',
    "no label column": b"text{s}lable\ngood{s}1\nbad{s}0\n",
    "one class": b"text{s}label\ngood{s}1\nbad{s}1\n",
    "an empty label": b"text{s}label\ngood{s}1\nbad{s}\n",
    "separators alone": b"text{s}label\n{s}\n{s}\n",
    "a NUL byte": b"text{s}label\ngood{s}1\nb\0d{s}0\n",
    "Latin-1": b"text{s}label\ngood{s}1\nd\xe9{s}0\n",
    "UTF-16": "text{s}label\ngood{s}1\nbad{s}0\n".encode("utf-16"),
    "another separator": b"text|label\ngood|1\nbad|0\n",
}


def _row(text: bytes = b'"good"', label: bytes = b"1") -> bytes:
    return b'{"text": ' + text + b', "label": ' + label + b"}\n"


LINES: Mapping[str, Written] = {
    **OF_ANY_KIND,
    "an array": b'[{"text": "good", "label": 1}]',
    "deep": DEEP,
    "a deep field": _row() + b'{"text": ' + DEEP + b"\n",
    "deep objects": b'{"text":' * 50_000,
    "no object": b'"good"\n',
    "indented": b'{\n"text": "good"\n}\n',
    "cut": _row() * 3 + b'{"text": "go',
    "a key twice": b'{"text": "a", "text": "b", "label": 1}\n',
    "a comma": b'{"text": "a", "label": 1},\n',
    "single quotes": b"{'text': 'a'}\n",
    "null": _row(b"null"),
    "a number of many digits": _row(b"1" * 5000),
    "a list": _row(b'["good"]'),
    "a label of many digits": _row(label=b"1" * 5000) + _row(),
    "a label that is none": _row(label=b"NaN") + _row(),
    "a label that is an object": _row(label=b"{}") + _row(),
    "no text": b'{"txet": "good", "label": 1}\n',
    "nothing": b"{}\n",
    "an escape": b'{"text": "\\x"}\n',
    "a NUL byte": b'{"text": "a\0"}\n',
    "Latin-1": b'{"text": "\xe9"}\n',
    "UTF-16": '{"text": "a"}\n'.encode("utf-16"),
}


def _question(**fields: object) -> bytes:
    whole = {"context": "It is red.", "question": "What?", "options": ["red", "blue"], "answer": 0}
    return json.dumps({**whole, **fields}).encode() + b"\n"


QUESTIONS: Mapping[str, Written] = {
    **OF_ANY_KIND,
    "an array": b"[" + _question() + b"]",
    "deep": DEEP,
    "no options": _question(options=[]),
    "one option": _question(options=["red"]),
    "an option twice": _question(options=["red", "red"]),
    "an option that is none": _question(options=["red", None]),
    "options as a text": _question(options="red"),
    "an answer beyond": _question(answer=2),
    "an answer before": _question(answer=-1),
    "an answer that is no option": _question(answer="green"),
    "no answer": _question(answer=None),
    "an answer without end": _question()[:-4] + b" 1e999}\n",
    "a context that is none": _question(context=None),
    "two forms": _question() + _question(options=None, answers=["red"]),
    "free answers that are none": _question(options=None, answers=[]),
    "one question": _question(),
}


def idx(*shape: int, values: bytes | None = None, kind: int = 8) -> bytes:
    """An IDX file, of zeros where nothing else is given."""
    content = bytes(int(np.prod(shape, dtype=np.int64))) if values is None else values
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


def bomb(start: bytes, megabytes: int = 400) -> bytes:
    """Zeros, zipped to a thousandth, after what a file begins with."""
    return gzip.compress(start) + gzip.compress(bytes(1 << 20)) * megabytes


_ZIPPED = gzip.compress(idx(4, 8, 8))
IDX_IMAGES: Mapping[str, Written] = {
    **OF_ANY_KIND,
    "cut": idx(4, 8, 8)[:-1],
    "too long": idx(4, 8, 8) + b"x",
    "cut within its head": idx(4, 8, 8)[:9],
    "another type": idx(4, 8, 8, kind=13),
    "no dimensions": idx(),
    "many dimensions": b"\0\0\x08\xff" + bytes(4096),
    "sizes beyond counting": idx(2**32 - 1, 2**32 - 1, 2**32 - 1, values=b""),
    "no samples": idx(0, 8, 8),
    "no pixels": idx(4, 0, 8),
    "two dimensions": idx(4, 8),
    "one sample fewer": idx(3, 8, 8),
    "other sizes than the test's": idx(4, 9, 8),
    "a web page": b"<html>not found</html>",
    ".gz cut": _ZIPPED[:-9],
    ".gz of another sum": _ZIPPED[:-8] + b"\0" * 8,
    ".gz with more behind": _ZIPPED + b"more",
    ".gz that is not": idx(4, 8, 8),
    ".gz bomb": bomb(idx(4, 8, 8)),
    ".gz bomb of a promise": bomb(idx(2**31 - 1, 8, 8, values=b"")),
    ".gz bomb without a head": bomb(b""),
}
IDX_LABELS: Mapping[str, Written] = {
    **OF_ANY_KIND,
    "one fewer": idx(3),
    "one more": idx(5),
    "two dimensions": idx(4, 1),
    "none": idx(0),
    ".gz bomb": bomb(idx(4)),
}
CIFAR: Mapping[str, Written] = {
    **OF_ANY_KIND,
    **_PICKLES,
    "nothing but an end": b".",
    "text": b"text",
    "no pixels": pickle.dumps({b"labels": [1]}),
    "other shapes": pickle.dumps({b"data": np.zeros((2, 9), np.uint8), b"labels": [1, 2]}),
    "other numbers": pickle.dumps({b"data": np.zeros((1, 3072)), b"labels": [1]}),
    "a class beyond": pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}),
    "labels that are none": pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [None]}),
    "labels as a number": pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": 1}),
    "cut": pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [1]})[:-40],
    "deep": b"(" * 200_000 + b".",
    "lists within lists": b"]" + b"]a" * 200_000 + b".",
    "a length beyond counting": b"\x80\x04\x8e" + b"\xff" * 8,
    "a negative length": b"\x80\x02T\xff\xff\xff\xff.",
    "within itself": b"}q\0U\x04dataq\1h\0s.",
    "a shape without end": pickle.dumps({b"data": np.zeros((0, 3072), np.uint8), b"labels": []}),
    "digits without end": b"I" + b"9" * 5000 + b"\n.",
}


def png(width: int = 4, height: int = 4, colours: bytes | None = None, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG, grey and black where nothing else is given."""
    rows = b"".join(b"\0" + bytes(width) for _ in range(height)) if colours is None else colours
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        *extra,
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def jpeg() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "JPEG")
    return stream.getvalue()


PICTURES: Mapping[str, Written] = {
    **OF_ANY_KIND,
    "cut": png()[:-20],
    "cut within its head": png()[:20],
    "another sum": png()[:29] + b"\0\0\0\0" + png()[33:],
    "no pixels": png(0, 4),
    "too few rows": png(4, 4, b"\0" * 5),
    "damaged rows": png(4, 4, b"\x09" * 20),
    "another size": png(9, 9),
    "a bomb": png(20_000, 20_000, bytes(1 << 20)),
    "a larger bomb": png(60_000, 60_000, bytes(1 << 20)),
    "text that unpacks": png(4, 4, None, (b"zTXt", b"a\0\0" + zlib.compress(bytes(2 << 20)))),
    "a text": b"not a picture",
    "a page": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "of another name": jpeg()[:100],
    "a GIF": b"GIF89a\1\0\1\0\0\0\0;",
    "a TIFF without end": b"II*\0\x08\0\0\0\xff\xff" + bytes(40),
}


def shard(head: bytes, content: bytes = b"") -> bytes:
    """A safetensors file."""
    return len(head).to_bytes(8, "little") + head + content


MODEL_FILES: Mapping[str, Mapping[str, Written]] = {
    "config.json": {
        **OF_ANY_KIND,
        "deep": DEEP,
        "an array": b"[]",
        "null": b"null",
        "no type": b"{}",
        "an unknown type": b'{"model_type": "flibber"}',
        "a type that is none": b'{"model_type": 3}',
        "sizes that are none": b'{"model_type": "llama", "hidden_size": "a"}',
        "sizes below zero": b'{"model_type": "llama", "hidden_size": -8, "vocab_size": -1}',
        "no heads": b'{"model_type": "llama", "num_attention_heads": 0}',
        "other sizes": b'{"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2}',
        "code": b'{"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}',
        "another head": b'{"model_type": "resnet"}',
        "pickled weights": b'{"model_type": "llama", "transformers_weights": "w.bin"}',
    },
    "model.safetensors": {
        **OF_ANY_KIND,
        "a head without end": b"\xff" * 8 + b"{}",
        "a head that is deep": shard(DEEP),
        "a head that is none": shard(b"null"),
        "nothing in it": shard(b"{}"),
        "offsets beyond": shard(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,99999]}}'),
        "a dtype that is none": shard(b'{"a":{"dtype":"F3","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        "other tensors": shard(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    },
    "tokenizer.json": {
        **OF_ANY_KIND,
        "deep": DEEP,
        "an array": b"[]",
        "nothing": b"{}",
        "a model that is none": b'{"model": {"type": "Flibber"}}',
        "UTF-16": "{}".encode("utf-16"),
    },
    "tokenizer_config.json": {
        **OF_ANY_KIND,
        "deep": DEEP,
        "an array": b"[]",
        "a class that is none": b'{"tokenizer_class": "Flibber"}',
        "a class that is a number": b'{"tokenizer_class": 3}',
        "a length that is none": b'{"model_max_length": "a"}',
    },
}


def put(path: Path, written: Written) -> Path:
    """Write a file, or what stands in its place; an older one goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if callable(written):
        written(path)
    else:
        path.write_bytes(written)
    return path


def separated(tables: Mapping[str, Written], separator: bytes) -> Iterator[tuple[str, Written]]:
    """The same with a separator put in."""
    for name, written in tables.items():
        yield name, written if callable(written) else written.replace(b"{s}", separator)
