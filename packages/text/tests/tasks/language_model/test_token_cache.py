"""The cache of tokenized text: content, hits, corruption, and processes at the same time.

Reached from here: ``tasks/language_model/number_file.py``, ``tasks/language_model/text_store.py``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graftwork import GraftworkError
from graftwork_text.corpora import Corpus, Document, find_corpus
from graftwork_text.tasks.language_model import token_cache
from graftwork_text.tasks.language_model.splitting import SplitDocuments
from graftwork_text.tasks.language_model.token_cache import TokenizedCorpus, open_tokenized
from graftwork_text.tasks.language_model.tokenization import reload_tokenizer, train_tokenizer
from graftwork_trainer import file_digests

Split = Callable[..., SplitDocuments]
OPTIONS: dict[str, Any] = {"tokenizer": None, "vocabulary_size": 320, "validation_fraction": 0.2}


def refusing(corpus: Corpus) -> Corpus:
    def refuse() -> Iterable[Document]:
        raise AssertionError("read although it is in the cache")

    return dataclasses.replace(corpus, read=refuse)


def entries(cache: Path) -> list[Path]:
    return [entry for entry in cache.iterdir() if entry.is_dir()]


@pytest.fixture
def corpus(library: Path) -> Corpus:
    return find_corpus(str(library))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def documents_in(tokenized: TokenizedCorpus, tokens: np.ndarray[Any, Any]) -> list[str]:
    ends = np.flatnonzero(tokens == tokenized.end_of_text)
    assert ends[-1] == len(tokens) - 1
    tokenizer = tokenized.tokenizer()
    pieces = np.split(tokens, ends + 1)[:-1]
    return [tokenizer.decode(piece[:-1].tolist()) for piece in pieces]


def test_tokens_decode_to_the_documents_of_the_split(corpus: Corpus, cache: Path, split: Split) -> None:
    tokenized = open_tokenized(corpus, **OPTIONS, cache=cache)
    parts = split(corpus.read(), 0.2)
    assert documents_in(tokenized, tokenized.train) == list(parts.train_texts())
    assert documents_in(tokenized, tokenized.validation) == list(parts.validation_texts())
    assert tokenized.train.dtype == np.uint16
    assert tokenized.vocabulary == 320


def test_bytes_of_held_out_documents(corpus: Corpus, cache: Path, split: Split) -> None:
    tokenized = open_tokenized(corpus, **OPTIONS, cache=cache)
    parts = split(corpus.read(), 0.2)
    ends = np.flatnonzero(tokenized.validation == tokenized.end_of_text)
    sums = [int(piece.sum()) for piece in np.split(tokenized.validation_bytes, ends)[:-1]]
    assert sums == [len(text.encode()) for text in parts.validation_texts()]
    assert not tokenized.validation_bytes[ends].any()
    assert tokenized.counts["validation_bytes"] == sum(sums)


def test_tokenizer_has_seen_training_text_only(
    corpus: Corpus, cache: Path, tmp_path: Path, split: Split
) -> None:
    tokenized = open_tokenized(corpus, **OPTIONS, cache=cache)
    train_tokenizer(split(corpus.read(), 0.2).train_texts(), 320).save(tmp_path / "expected.json")
    assert tokenized.tokenizer_file.read_bytes() == (tmp_path / "expected.json").read_bytes()


def test_hit_reads_no_text(corpus: Corpus, cache: Path) -> None:
    first = open_tokenized(corpus, **OPTIONS, cache=cache)
    second = open_tokenized(refusing(corpus), **OPTIONS, cache=cache)
    assert second.digests == first.digests
    assert isinstance(second.train, np.memmap)


def test_same_content_same_digest(corpus: Corpus, tmp_path: Path) -> None:
    first, second = (open_tokenized(corpus, **OPTIONS, cache=tmp_path / name).digests for name in "ab")
    assert first == second


@pytest.mark.parametrize("change", [{"vocabulary_size": 300}, {"validation_fraction": 0.3}])
def test_other_options_make_another_entry(corpus: Corpus, cache: Path, change: dict[str, Any]) -> None:
    open_tokenized(corpus, **OPTIONS, cache=cache)
    open_tokenized(corpus, **(OPTIONS | change), cache=cache)
    assert len(entries(cache)) == 2


def test_changed_text_makes_another_entry(library: Path, cache: Path) -> None:
    open_tokenized(find_corpus(str(library)), **OPTIONS, cache=cache)
    (library / "more.txt").write_text("Some more text for the library.")
    open_tokenized(find_corpus(str(library)), **OPTIONS, cache=cache)
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("name", ["train.npy", "validation_bytes.npy", "tokenizer.json", "index.json"])
@pytest.mark.parametrize("damage", ["cut", "delete", "overwrite"])
def test_damaged_entry_is_made_anew(corpus: Corpus, cache: Path, name: str, damage: str) -> None:
    before = open_tokenized(corpus, **OPTIONS, cache=cache).digests
    (entry,) = entries(cache)
    content = (entry / name).read_bytes()
    (entry / name).unlink()
    if damage == "cut":
        (entry / name).write_bytes(content[: len(content) // 2])
    elif damage == "overwrite":
        (entry / name).write_bytes(content[:-8] + bytes(8))
    after = open_tokenized(corpus, **OPTIONS, cache=cache)
    assert after.digests == before
    assert entries(cache) == [entry]
    open_tokenized(refusing(corpus), **OPTIONS, cache=cache)


class Touches:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self._marker}",)


def as_object_array(touches: Touches) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([touches]), allow_pickle=True)
    return buffer.getvalue()


def as_torch_saves(touches: Touches) -> bytes:
    buffer = io.BytesIO()
    torch.save(touches, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("pickled", [pickle.dumps, as_object_array, as_torch_saves])
@pytest.mark.parametrize(
    "name", ["train.npy", "validation.npy", "validation_bytes.npy", "tokenizer.json", "index.json"]
)
def test_a_planted_pickle_is_not_run_and_the_entry_made_anew(
    corpus: Corpus,
    cache: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    pickled: Callable[[Touches], bytes],
) -> None:
    before = open_tokenized(corpus, **OPTIONS, cache=cache)
    (entry,) = entries(cache)
    marker = tmp_path / "marker"
    (entry / name).unlink()
    (entry / name).write_bytes(pickled(Touches(marker)))
    if name.endswith(".npy"):
        # Whoever plants it can write its digest too.
        index = json.loads((entry / "index.json").read_text())
        index["files"][name] = hashlib.sha256((entry / name).read_bytes()).hexdigest()
        del index["sha256"]
        index["sha256"] = token_cache._index_digest(index)
        (entry / "index.json").write_text(json.dumps(index))
    after = open_tokenized(corpus, **OPTIONS, cache=cache)
    assert not marker.exists()
    assert f"{entry} is not as it was written; it is made anew" in caplog.text
    assert after.digests == before.digests
    np.testing.assert_array_equal(after.train, before.train)


@pytest.mark.parametrize("lost", ["train.npy", "tokenizer.json"])
def test_every_file_has_a_digest(corpus: Corpus, cache: Path, lost: str) -> None:
    open_tokenized(corpus, **OPTIONS, cache=cache)
    (entry,) = entries(cache)
    index = json.loads((entry / "index.json").read_text())
    del index["files"][lost], index["sha256"]
    index["sha256"] = token_cache._index_digest(index)
    (entry / "index.json").write_text(json.dumps(index))
    assert token_cache._open(entry) is None


@pytest.mark.parametrize(
    "change",
    [
        {"end_of_text": 10},
        {"vocabulary": 7},
        {"counts": {"train_documents": 1}},
        {"sha256": "0" * 64},
        {"more": 1},
    ],
    ids=str,
)
def test_an_index_that_was_changed_is_made_anew_and_that_is_said(
    corpus: Corpus, cache: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    before = open_tokenized(corpus, **OPTIONS, cache=cache)
    (entry,) = entries(cache)
    index = json.loads((entry / "index.json").read_text())
    (entry / "index.json").write_text(json.dumps(index | change))
    after = open_tokenized(corpus, **OPTIONS, cache=cache)
    for name in ("end_of_text", "vocabulary", "counts", "digests"):
        assert getattr(after, name) == getattr(before, name)
    assert f"the token cache {entry} is not as it was written; it is made anew" in caplog.text
    assert json.loads((entry / "index.json").read_text()) == index


DAMAGES: dict[str, Callable[[Path], object]] = {
    "removed": lambda path: None,
    "emptied": Path.touch,
    "zeros": lambda path: path.write_bytes(bytes(300)),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a circle": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_entry_with_a_damaged_file_is_made_anew(corpus: Corpus, cache: Path, damage: str) -> None:
    before = open_tokenized(corpus, **OPTIONS, cache=cache).digests
    (entry,) = entries(cache)
    for file in sorted(entry.iterdir()):
        file.unlink()
        DAMAGES[damage](file)
        assert open_tokenized(corpus, **OPTIONS, cache=cache).digests == before, file.name
        assert len(list(entry.iterdir())) == 5


def test_digests_are_of_what_is_said_and_not_of_how_it_is_written(corpus: Corpus, cache: Path) -> None:
    tokenized = open_tokenized(corpus, **OPTIONS, cache=cache)
    by_hand = b"".join(int(token).to_bytes(4, "little") for token in tokenized.train)
    assert hashlib.sha256(by_hand).hexdigest() == tokenized.digests["train_tokens"]
    indented = cache / "indented.json"
    indented.write_text(json.dumps(json.loads(tokenized.tokenizer_file.read_text()), indent=4))
    again = reload_tokenizer(indented, tokenized.end_of_text)
    assert again.digest == tokenized.digests["tokenizer"]
    assert reload_tokenizer(indented, tokenized.end_of_text + 1).digest != again.digest


def test_processes_at_the_same_time(library: Path, cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from graftwork_text.corpora import find_corpus\n"
        "from graftwork_text.tasks.language_model.token_cache import open_tokenized\n"
        "found = open_tokenized(find_corpus(sys.argv[1]), tokenizer=None, vocabulary_size=320,\n"
        "                       validation_fraction=0.2, cache=Path(sys.argv[2]))\n"
        "print(found.digests, int(found.train.sum()))\n"
    )
    command = [sys.executable, "-c", code, str(library), str(cache)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    printed = {process.communicate(timeout=120) for process in processes}
    assert [process.returncode for process in processes] == [0, 0], printed
    assert len(printed) == 1
    assert len(entries(cache)) == 1


def test_loser_of_a_race_takes_the_winners_entry(
    corpus: Corpus, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lock: another process finishes while this one tokenizes."""
    rename_into_place = token_cache._put_in_place
    won: list[TokenizedCorpus] = []

    def late(content: Path, entry: Path) -> None:
        monkeypatch.setattr(token_cache, "_put_in_place", rename_into_place)
        won.append(token_cache._make(entry, corpus, None, 320, 0.2))
        rename_into_place(content, entry)

    monkeypatch.setattr(token_cache, "_put_in_place", late)
    lost = open_tokenized(corpus, **OPTIONS, cache=cache)
    assert lost.digests == won[0].digests
    assert len(entries(cache)) == 1


def test_failure_leaves_no_entry(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "only.txt").write_text("A single document.")
    with pytest.raises(GraftworkError, match=r"one': found 1 document"):
        open_tokenized(find_corpus(str(tmp_path / "one")), **OPTIONS, cache=cache)
    assert entries(cache) == []


def test_text_that_vanishes_is_named(library: Path, cache: Path) -> None:
    corpus = find_corpus(str(library))
    (library / "text-07.txt").unlink()
    with pytest.raises(GraftworkError, match=r"text-07\.txt: there is no such file"):
        open_tokenized(corpus, **OPTIONS, cache=cache)


def test_text_that_changes_while_it_is_read_fills_no_cache(library: Path, cache: Path) -> None:
    corpus = find_corpus(str(library))

    def read() -> Iterator[Document]:
        for number, document in enumerate(corpus.read()):
            if number == 30:
                (library / "text-45.txt").write_text("Something else.")
            yield document

    with pytest.raises(GraftworkError, match=r"text-45\.txt: changed since its digest was taken"):
        open_tokenized(dataclasses.replace(corpus, read=read), **OPTIONS, cache=cache)
    assert entries(cache) == []
    open_tokenized(find_corpus(str(library)), **OPTIONS, cache=cache)
    assert len(entries(cache)) == 1


def test_an_entry_that_has_not_changed_is_not_digested_again(
    corpus: Corpus, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "graftwork"))
    digested: list[object] = []
    taken, later = hashlib.file_digest, time.time_ns() + 3_600_000_000_000
    monkeypatch.setattr(file_digests.time, "time_ns", lambda: later)
    monkeypatch.setattr(
        file_digests.hashlib, "file_digest", lambda *given: digested.append(given) or taken(*given)
    )
    open_tokenized(corpus, **OPTIONS, cache=cache)
    assert len(digested) == 4
    open_tokenized(corpus, **OPTIONS, cache=cache)
    assert len(digested) == 4
    (entry,) = entries(cache)
    (entry / "train.npy").write_bytes((entry / "train.npy").read_bytes()[:-2] + b"xx")
    open_tokenized(corpus, **OPTIONS, cache=cache)
    assert len(digested) == 4 + 1 + 4, "the damaged file, and those that were made anew"


def test_how_a_text_was_cut_is_said(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lines.txt").write_text("".join(f"This is sentence {number}.\n" for number in range(1000)))
    tokenized = open_tokenized(find_corpus(str(tmp_path / "lines.txt")), **OPTIONS, cache=cache)
    told = capsys.readouterr().err
    count = tokenized.counts["train_documents"] + tokenized.counts["validation_documents"]
    assert f"lines.txt has no blank lines: cut at line ends into {count} documents" in told


def test_lines_that_files_share_are_not_held_out(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    for number in range(8):
        (tmp_path / "folder" / f"{number}.txt").write_text(f"Common line here.\nUnique {number}.\n")
    tokenized = open_tokenized(find_corpus(str(tmp_path / "folder")), **OPTIONS, cache=cache)
    held_out = documents_in(tokenized, tokenized.validation)
    assert held_out
    assert all(text.startswith("Unique") for text in held_out)
    assert tokenized.counts["shared_paragraphs_cut_out"] == len(held_out)
    assert "cut at" not in capsys.readouterr().err, "they are as they were written"


@pytest.mark.parametrize("name", ["test.txt", "test.jsonl"])
def test_a_line_of_a_test_text_is_not_learnt_from(cache: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    for number in range(8):
        (tmp_path / "folder" / f"{number}.txt").write_text(
            f"Start {number}.\nThe secret line.\nEnd {number}."
        )
    secret = "The secret line."
    (tmp_path / name).write_text(json.dumps({"text": secret}) if name.endswith("l") else secret)
    test = find_corpus(str(tmp_path / name))
    tokenized = open_tokenized(find_corpus(str(tmp_path / "folder")), **OPTIONS, cache=cache, test=test)
    learnt = documents_in(tokenized, tokenized.train)
    assert learnt
    assert not any("secret" in text for text in learnt)
    assert tokenized.counts[token_cache.HELD_OUT_COPIES] == len(learnt)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.txt": "One"},
            r"found 1 .*\(1 read, 0 of them blank, 0 with .*\); a text alone is cut at lines of",
        ),
        (
            {"a.txt": " ", "b.txt": "\n", "c.md": ""},
            r"found 0 .*\(3 read, 3 of them blank, .*\); a .txt or .md file is",
        ),
        ({"a.txt": "One", "b.txt": "\ufeffONE\r\n"}, r"found 1 .*\(2 read, 0 of them blank, 1 with"),
        (
            {"a.jsonl": '{"text": "One"}\n{"text": ""}'},
            r"found 1 .*\(2 read, 1 of them blank, .* each line of a .jsonl",
        ),
    ],
)
def test_too_few_documents_are_told_as_they_are(
    cache: Path, tmp_path: Path, files: dict[str, str], message: str
) -> None:
    (tmp_path / "folder").mkdir()
    for name, content in files.items():
        (tmp_path / "folder" / name).write_text(content, "utf-8")
    with pytest.raises(GraftworkError, match=message):
        open_tokenized(find_corpus(str(tmp_path / "folder")), **OPTIONS, cache=cache)


def test_cache_that_cannot_be_made(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GraftworkError, match=r"cannot write the token cache .*GRAFTWORK_CACHE"):
        open_tokenized(corpus, **OPTIONS, cache=tmp_path / "file")


def test_default_place(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "graftwork"))
    open_tokenized(corpus, **OPTIONS)
    assert len(entries(tmp_path / "graftwork" / "lm-pretrain")) == 1


def test_leftovers_of_killed_processes_are_swept(corpus: Corpus, cache: Path) -> None:
    leftover = cache / ".partial-of-a-killed-process"
    leftover.mkdir(parents=True)
    os.utime(leftover, (0, 0))
    open_tokenized(corpus, **OPTIONS, cache=cache)
    assert not leftover.exists()


def test_large_vocabularies_take_32_bits() -> None:
    assert token_cache._smallest_dtype(65_536) is np.uint16
    assert token_cache._smallest_dtype(65_537) is np.uint32


def test_a_mark_within_a_line_is_said_to_separate_nothing(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"Sentence {number}.<|endoftext|>And another." for number in range(9)] + ["A plain one."]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    open_tokenized(find_corpus(str(tmp_path / "a.jsonl")), **OPTIONS, cache=cache)
    told = capsys.readouterr().err
    assert "a.jsonl: 9 document(s) hold <|endoftext|> within a line, which is read as text" in told
    (tmp_path / "b.txt").write_text(
        "\n<|endoftext|>\n".join(["One.", "Two.", "Three.", "Four.", "Five."] * 3)
    )
    open_tokenized(find_corpus(str(tmp_path / "b.txt")), **OPTIONS, cache=cache)
    assert "within a line" not in capsys.readouterr().err


def test_a_test_text_without_text_is_refused(corpus: Corpus, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text(" \n\f\n")
    with pytest.raises(GraftworkError, match=r"^test_data '.*test\.txt': holds no text to be tested on$"):
        open_tokenized(corpus, **OPTIONS, cache=cache, test=find_corpus(str(tmp_path / "test.txt")))
    assert entries(cache) == []
