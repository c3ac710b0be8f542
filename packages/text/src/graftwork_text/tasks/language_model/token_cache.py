"""Tokenized corpora on disk: made once, found again by what determines them, shared by processes.

An entry is a folder named by the digest of the corpus's identity, the tokenizer's, the split and the format:
``train.npy`` and ``validation.npy`` (tokens, unsigned 16 or 32 bits), ``validation_bytes.npy`` (UTF-8 bytes
that each held-out token adds), ``tokenizer.json``, and ``index.json`` with counts and the digests of every
other file and of what it says itself. It appears by one rename and is checked against its digests when it is
opened (those of a file that has not changed since are not computed again); one that fails the check is made
anew, which is said.
Nothing in it is ever unpickled.

Neither the corpus nor its tokens are held in memory: its documents are read once, kept in a file until the
entry is made, and encoded one after another into files that grow.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections import Counter
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
from graftwork_text.tasks.language_model.number_file import NumberFile, mapped
from graftwork_text.tasks.language_model.splitting import SplitDocuments, Tested, tested_text
from graftwork_text.tasks.language_model.text_store import TextStore
from graftwork_text.tasks.language_model.tokenization import (
    END_OF_TEXT,
    TextTokenizer,
    load_tokenizer,
    reload_tokenizer,
    tokenizer_identity,
    train_tokenizer,
)
from graftwork_trainer.causes import cause_of
from graftwork_trainer.file_digests import digests_of
from graftwork_trainer.files import read_file
from graftwork_trainer.keeping_apart import HELD_OUT_COPIES
from graftwork_trainer.progress import tell_once
from graftwork_trainer.waiting import doing

_FORMAT = "packed documents, 4"
_INDEX = "index.json"
_TRAIN, _VALIDATION, _VALIDATION_BYTES, _TOKENIZER = (
    "train.npy",
    "validation.npy",
    "validation_bytes.npy",
    "tokenizer.json",
)
_FILES = (_TRAIN, _VALIDATION, _VALIDATION_BYTES, _TOKENIZER)
_CUT_AT = {"\n": "line ends", " ": "ends of sentences"}
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
    test: Corpus | None = None,
) -> TokenizedCorpus:
    """Return a corpus as tokens, from the cache where it is there.

    Args:
        corpus: read only where the cache lacks it.
        tokenizer: the user's file or folder, or None to train one on the training split.
        vocabulary_size: of the one to be trained.
        validation_fraction: expected share of held-out documents.
        cache: folder of entries; by default ``lm-pretrain`` in Graftwork's cache.
        test: text to be tested on, none of which is to be learnt from.

    Raises:
        GraftworkError: the corpus or the tokenizer is unusable, or the cache cannot be written.
    """
    key = {
        "format": _FORMAT,
        "corpus": dict(corpus.identity),
        "tokenizer": tokenizer_identity(tokenizer, vocabulary_size),
        "validation_fraction": validation_fraction,
        **({} if test is None else {"test": dict(test.identity)}),
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
                return _make(entry, corpus, tokenizer, vocabulary_size, validation_fraction, test)
    except OSError as error:
        raise GraftworkError(
            f"cannot write the token cache {entry.parent}: {cause_of(error)}; the task's cache option or "
            "GRAFTWORK_CACHE names another folder"
        ) from error


def _make(
    entry: Path,
    corpus: Corpus,
    tokenizer: Path | None,
    vocabulary_size: int,
    validation_fraction: float,
    test: Corpus | None = None,
) -> TokenizedCorpus:
    workshop = make_workshop(entry)
    try:
        content = workshop / "content"
        content.mkdir()
        with TextStore(workshop / "texts") as store:
            tested = None if test is None else tested_text(_documents(test))
            if test is not None and tested is not None and not tested.between:
                raise GraftworkError(f"test_data {test.name!r}: holds no text to be tested on")
            parts = _split(corpus, validation_fraction, store, tested)
            text_tokenizer = (
                load_tokenizer(tokenizer)
                if tokenizer
                else train_tokenizer(parts.train_texts(), vocabulary_size)
            )
            text_tokenizer.save(content / _TOKENIZER)
            index = _write_tokens(content, parts, text_tokenizer)
        index["files"] = {file.name: digest(file) for file in sorted(content.iterdir())}
        index["sha256"] = _index_digest(index)
        (content / _INDEX).write_text(json.dumps(index, indent=1), "utf-8")
        _put_in_place(content, entry)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    made = _open(entry)
    if made is None:
        raise GraftworkError(f"the token cache {entry} changes while it is read; delete that folder")
    return made


def _split(
    corpus: Corpus, validation_fraction: float, store: TextStore, tested: Tested | None
) -> SplitDocuments:
    between: Counter[str] = Counter()
    quoting = 0

    def noted() -> Iterator[Document]:
        nonlocal quoting
        for document in _documents(corpus):
            between[document.between] += document.cut
            quoting += END_OF_TEXT in document.text
            yield document

    try:
        parts = SplitDocuments(noted(), validation_fraction, store, tested)
    except GraftworkError as error:
        told = str(error) if corpus.name in str(error) else f"data {corpus.name!r}: {error}"
        few = "at least 2 are needed" in told
        raise GraftworkError(f"{told}; {corpus.cut}" if few and corpus.cut else told) from error
    for ends, count in between.items():
        if count and ends in _CUT_AT:
            tell_once(f"{corpus.name} has no blank lines: cut at {_CUT_AT[ends]} into {count:,} documents")
    if quoting:
        tell_once(
            f"{corpus.name}: {quoting:,} document(s) hold {END_OF_TEXT} within a line, which is read as text "
            "and separates nothing; on a line of its own in a .txt or .md file it does"
        )
    return parts


def _documents(corpus: Corpus) -> Iterator[Document]:
    """Its documents; what cannot be read is told as that, and not as a cache that cannot be written."""
    try:
        yield from corpus.read()
    except OSError as error:
        raise GraftworkError(f"data {corpus.name!r}: cannot be read: {cause_of(error)}") from error


def _write_tokens(content: Path, parts: SplitDocuments, tokenizer: TextTokenizer) -> dict[str, Any]:
    """Write the tokens of both parts; return what the index says of them."""
    dtype = _smallest_dtype(tokenizer.vocabulary)
    end = np.array([tokenizer.end_of_text])
    learnt, held_out = _Counted(parts.train_texts()), _Counted(parts.validation_texts())
    with NumberFile(content / _TRAIN, dtype) as train:
        for ids, ends_text in tokenizer.encode_pieces(learnt):
            train.append(ids)
            if ends_text:
                train.append(end)
    validation_sha256 = _write_with_bytes(
        content / _VALIDATION, content / _VALIDATION_BYTES, held_out, tokenizer
    )
    return {
        "end_of_text": tokenizer.end_of_text,
        "vocabulary": tokenizer.vocabulary,
        "counts": {
            "train_documents": learnt.documents,
            "validation_documents": held_out.documents,
            "train_bytes": learnt.bytes,
            "validation_bytes": held_out.bytes,
            "duplicate_documents_left_out": parts.duplicate_documents,
            "shared_paragraphs_cut_out": parts.shared_parts,
            **({"blank_documents_left_out": parts.blank_documents} if parts.blank_documents else {}),
            **({HELD_OUT_COPIES: parts.tested_parts} if parts.tested_parts else {}),
        },
        "digests": {
            "train_tokens": train.sha256,
            "validation_tokens": validation_sha256,
            "tokenizer": tokenizer.digest,
        },
    }


class _Counted:
    """Texts that are counted as they pass."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.documents = self.bytes = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.documents += 1
            self.bytes += len(text.encode("utf-8"))
            yield text


def tokens_with_bytes(
    documents: Iterable[Document], tokenizer: TextTokenizer, folder: Path
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]:
    """Tokens of documents that an evaluation reads, joined by end-of-text ones, and the bytes of each.

    Args:
        documents: in their order.
        tokenizer: of the model.
        folder: where both are written, to be mapped.
    """
    tokens, added = folder / _VALIDATION, folder / _VALIDATION_BYTES
    _write_with_bytes(tokens, added, (document.text for document in documents), tokenizer)
    return mapped(tokens), mapped(added)


def _write_with_bytes(tokens: Path, added: Path, texts: Iterable[str], tokenizer: TextTokenizer) -> str:
    """Write tokens and their bytes; return the digest of the tokens."""
    end, nothing = np.array([tokenizer.end_of_text]), np.zeros(1, np.int64)
    with (
        NumberFile(tokens, _smallest_dtype(tokenizer.vocabulary)) as numbers,
        NumberFile(added, np.uint32) as byte_numbers,
    ):
        for ids, of_each, ends_text in tokenizer.encode_pieces_with_bytes(texts):
            numbers.append(ids)
            byte_numbers.append(of_each)
            if ends_text:
                numbers.append(end)
                byte_numbers.append(nothing)
    return numbers.sha256


def _smallest_dtype(vocabulary: int) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if vocabulary <= 1 << 16 else np.uint32


def _open(entry: Path) -> TokenizedCorpus | None:
    """The entry, or None where it is missing or not as it was written."""
    try:
        index = json.loads(read_file(entry / _INDEX))
        if index.pop("sha256") != _index_digest(index):
            return None
        files: dict[str, str] = index["files"]
        digests = digests_of([entry / name for name in _FILES], book=entry)
        if files != dict(zip(_FILES, digests, strict=True)):
            return None
        return TokenizedCorpus(
            train=mapped(entry / _TRAIN),
            validation=mapped(entry / _VALIDATION),
            validation_bytes=mapped(entry / _VALIDATION_BYTES),
            tokenizer_file=entry / _TOKENIZER,
            end_of_text=int(index["end_of_text"]),
            vocabulary=int(index["vocabulary"]),
            counts={str(name): int(count) for name, count in index["counts"].items()},
            digests={str(name): str(value) for name, value in index["digests"].items()},
        )
    except (GraftworkError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _index_digest(index: Mapping[str, Any]) -> str:
    """Of an index without it."""
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


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
