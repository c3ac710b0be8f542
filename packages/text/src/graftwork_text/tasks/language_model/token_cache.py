"""Tokenized corpora on disk: made once, found again by what determines them, shared by processes.

An entry is a folder named by the digest of the corpus's identity, the tokenizer's, the split and the format:
``train.npy`` and ``validation.npy`` (tokens, unsigned 16 or 32 bits), ``validation_bytes.npy`` (UTF-8 bytes
that each held-out token adds), ``tokenizer.json``, and ``index.json`` with counts and the digest of every
other file. It appears by one rename and is checked against its digests whenever it is opened; one that fails
the check is made anew, which is said. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import GraftworkError
from graftwork.realdata import cache_directory, digest, make_workshop
from graftwork_text.corpora import Corpus, Document
from graftwork_text.tasks.language_model.splitting import split_documents
from graftwork_text.tasks.language_model.tokenization import (
    TextTokenizer,
    load_tokenizer,
    reload_tokenizer,
    tokenizer_identity,
    train_tokenizer,
)
from graftwork_trainer.waiting import doing

_FORMAT = "packed documents, 2"
_INDEX = "index.json"
_TRAIN, _VALIDATION, _VALIDATION_BYTES, _TOKENIZER = (
    "train.npy",
    "validation.npy",
    "validation_bytes.npy",
    "tokenizer.json",
)
_FILES = {_TRAIN, _VALIDATION, _VALIDATION_BYTES, _TOKENIZER}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TokenizedCorpus:
    """A corpus as tokens.

    Args:
        train: [tokens], mapped from a file; documents joined by end-of-text tokens, one after the last too.
        validation: the same of the held-out documents.
        validation_bytes: [tokens], UTF-8 bytes that each held-out token adds to its document; 0 for
            end-of-text.
        tokenizer_file: a ``tokenizer.json``.
        end_of_text: the token that separates documents.
        vocabulary: one more than the largest token number.
        counts: documents, bytes and what was left out.
        digests: SHA-256 of ``train_tokens``, ``validation_tokens`` and ``tokenizer``: of what they say, not
            of the files, which another version of a library may write in another way.
    """

    train: NDArray[np.unsignedinteger]
    validation: NDArray[np.unsignedinteger]
    validation_bytes: NDArray[np.unsignedinteger]
    tokenizer_file: Path
    end_of_text: int
    vocabulary: int
    counts: Mapping[str, int]
    digests: Mapping[str, str]

    def tokenizer(self) -> TextTokenizer:
        """Load the tokenizer."""
        return reload_tokenizer(self.tokenizer_file, self.end_of_text)


def open_tokenized(
    corpus: Corpus,
    *,
    tokenizer: Path | None,
    vocabulary_size: int,
    validation_fraction: float,
    cache: Path | None = None,
) -> TokenizedCorpus:
    """Return a corpus as tokens, from the cache where it is there.

    Args:
        corpus: read only where the cache lacks it.
        tokenizer: the user's file or folder, or None to train one on the training split.
        vocabulary_size: of the one to be trained.
        validation_fraction: expected share of held-out documents.
        cache: folder of entries; by default ``lm-pretrain`` in Graftwork's cache.

    Raises:
        GraftworkError: the corpus or the tokenizer is unusable, or the cache cannot be written.
    """
    key = {
        "format": _FORMAT,
        "corpus": dict(corpus.identity),
        "tokenizer": tokenizer_identity(tokenizer, vocabulary_size),
        "validation_fraction": validation_fraction,
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    entry = (cache or cache_directory("lm-pretrain")) / name
    if found := _open(entry):
        return found
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(entry):
            if found := _open(entry):
                return found
            if entry.exists():
                _log.warning("the token cache %s is not as it was written; it is made anew", entry)
            _log.info("tokenizing %s into %s", corpus.name, entry)
            with doing("reading and tokenizing the text"):
                return _make(entry, corpus, tokenizer, vocabulary_size, validation_fraction)
    except OSError as error:
        raise GraftworkError(
            f"cannot write the token cache {entry.parent}: {error}; the task's cache option or "
            "GRAFTWORK_CACHE names another folder"
        ) from error


def _make(
    entry: Path, corpus: Corpus, tokenizer: Path | None, vocabulary_size: int, validation_fraction: float
) -> TokenizedCorpus:
    try:
        parts = split_documents(corpus.read(), validation_fraction)
    except GraftworkError as error:
        raise GraftworkError(f"data {corpus.name!r}: {error}") from error
    except OSError as error:
        raise GraftworkError(
            f"data {corpus.name!r}: cannot read {error.filename}: {error.strerror}"
        ) from error
    text_tokenizer = (
        load_tokenizer(tokenizer)
        if tokenizer
        else train_tokenizer((document.text for document in parts.train), vocabulary_size)
    )
    workshop = make_workshop(entry)
    try:
        content = workshop / "content"
        content.mkdir()
        text_tokenizer.save(content / _TOKENIZER)
        train = _training_tokens(parts.train, text_tokenizer)
        validation, added_bytes = tokens_with_bytes(parts.validation, text_tokenizer)
        np.save(content / _TRAIN, train)
        np.save(content / _VALIDATION, validation)
        np.save(content / _VALIDATION_BYTES, added_bytes)
        index = {
            "end_of_text": text_tokenizer.end_of_text,
            "vocabulary": text_tokenizer.vocabulary,
            "counts": {
                "train_documents": len(parts.train),
                "validation_documents": len(parts.validation),
                "train_bytes": sum(len(document.text.encode()) for document in parts.train),
                "validation_bytes": sum(len(document.text.encode()) for document in parts.validation),
                "duplicate_documents_left_out": parts.duplicate_documents,
                "shared_paragraphs_cut_out": parts.shared_paragraphs,
            },
            "digests": {
                "train_tokens": _digest_of_numbers(train),
                "validation_tokens": _digest_of_numbers(validation),
                "tokenizer": text_tokenizer.digest,
            },
            "files": {file.name: digest(file) for file in sorted(content.iterdir())},
        }
        (content / _INDEX).write_text(json.dumps(index, indent=1), "utf-8")
        _put_in_place(content, entry)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    made = _open(entry)
    if made is None:
        raise GraftworkError(f"the token cache {entry} changes while it is read; delete that folder")
    return made


def _training_tokens(
    documents: tuple[Document, ...], tokenizer: TextTokenizer
) -> NDArray[np.unsignedinteger[Any]]:
    dtype = _smallest_dtype(tokenizer.vocabulary)
    end = np.array([tokenizer.end_of_text], dtype)
    pieces = []
    for ids in tokenizer.encode(document.text for document in documents):
        pieces += [ids.astype(dtype), end]
    return np.concatenate(pieces)


def tokens_with_bytes(
    documents: Iterable[Document], tokenizer: TextTokenizer
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.uint32]]:
    """Tokens of documents that an evaluation reads, joined by end-of-text ones, and the bytes of each."""
    dtype = _smallest_dtype(tokenizer.vocabulary)
    end = np.array([tokenizer.end_of_text], dtype)
    pieces: list[NDArray[Any]] = [np.zeros(0, dtype)]
    byte_pieces = [np.zeros(0, np.uint32)]
    for ids, added in tokenizer.encode_with_bytes(document.text for document in documents):
        pieces += [ids.astype(dtype), end]
        byte_pieces += [added.astype(np.uint32), np.zeros(1, np.uint32)]
    return np.concatenate(pieces), np.concatenate(byte_pieces)


def _smallest_dtype(vocabulary: int) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if vocabulary <= 1 << 16 else np.uint32


def _open(entry: Path) -> TokenizedCorpus | None:
    """The entry, or None where it is missing or not as it was written."""
    try:
        index = json.loads((entry / _INDEX).read_text("utf-8"))
        files: dict[str, str] = index["files"]
        if files != {name: digest(entry / name) for name in _FILES}:
            return None
        return TokenizedCorpus(
            train=_mapped(entry / _TRAIN),
            validation=_mapped(entry / _VALIDATION),
            validation_bytes=_mapped(entry / _VALIDATION_BYTES),
            tokenizer_file=entry / _TOKENIZER,
            end_of_text=int(index["end_of_text"]),
            vocabulary=int(index["vocabulary"]),
            counts={str(name): int(count) for name, count in index["counts"].items()},
            digests={str(name): str(value) for name, value in index["digests"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _mapped(file: Path) -> NDArray[np.unsignedinteger]:
    """Map an array of the one format that holds numbers alone; :func:`numpy.load` knows others."""
    array: NDArray[np.unsignedinteger] = np.lib.format.open_memmap(file, mode="r")
    if array.ndim != 1 or array.dtype.kind != "u":
        raise ValueError(f"{file} must hold a list of unsigned numbers, got {array.dtype}{list(array.shape)}")
    return array


def _digest_of_numbers(array: NDArray[np.unsignedinteger]) -> str:
    # In one width and order of bytes, whatever the file has.
    return hashlib.sha256(array.astype("<u4").tobytes()).hexdigest()


def _put_in_place(content: Path, entry: Path) -> None:
    """Rename to the entry; where something is there, keep it if it is sound, else replace it."""
    for _ in range(3):
        with suppress(OSError):
            content.rename(entry)
            return
        if _open(entry):
            return
        # Another process may still have the unsound files mapped, so they are moved away, not overwritten.
        with suppress(OSError):
            entry.rename(content.with_name("unsound"))
        shutil.rmtree(content.with_name("unsound"), ignore_errors=True)
    content.rename(entry)


@contextmanager
def _one_at_a_time(entry: Path) -> Iterator[None]:
    """Let one process tokenize while others wait for its result.

    This saves work only. Where locks are missing or do not reach across machines, several processes tokenize
    and the renames decide.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(entry.with_name(f".{entry.name}.lock"), os.O_CREAT | os.O_RDWR, 0o666)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
