"""Text files and folders of them as documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_text.corpora import find_corpus


def test_folder_holds_a_document_a_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.MD").write_text("first")
    (tmp_path / "deep" / "c.txt").write_text("third\n\nwith two paragraphs")
    (tmp_path / "lines.jsonl").write_text('{"text": "fourth"}\n\n{"text": "fifth", "other": 1}\n')
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    documents = list(find_corpus(str(tmp_path)).read())
    assert [(document.identifier, document.text) for document in documents] == [
        ("a.MD", "first"),
        ("b.txt", "second"),
        ("deep/c.txt", "third\n\nwith two paragraphs"),
        ("lines.jsonl#000001", "fourth"),
        ("lines.jsonl#000003", "fifth"),
    ]


def test_one_file_is_cut_at_blank_lines(tmp_path: Path) -> None:
    paragraphs = [f"paragraph {number} " + "word " * 100 for number in range(20)]
    file = tmp_path / "book.txt"
    file.write_text("\n \n".join(paragraphs))
    documents = list(find_corpus(str(file)).read())
    assert len(documents) == 5
    assert documents[0].identifier == "book.txt#000000"
    rejoined = "\n\n".join(document.text for document in documents)
    assert rejoined == "\n\n".join(paragraph.strip() for paragraph in paragraphs)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("\n\n".join(f"A paragraph, number {number}." for number in range(5)), 5),
        ("\n".join(f"Line {number} of a text without blank ones." for number in range(600)), 12),
        (" ".join(f"Sentence {number}." for number in range(40)), 8),
        ("A text that cannot be cut", 1),
    ],
    ids=["paragraphs", "lines", "sentences", "one"],
)
def test_a_text_that_is_alone_becomes_several_documents(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "alone.txt").write_text(text)
    for data in (tmp_path, tmp_path / "alone.txt"):
        documents = list(find_corpus(str(data)).read())
        assert len(documents) == count
        assert " ".join(document.text for document in documents).split() == text.split()


def test_documents_before_appended_text_keep_their_names(tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_text("\n\n".join(f"{number} " + "word " * 500 for number in range(5)))
    before = list(find_corpus(str(file)).read())
    with file.open("a") as stream:
        stream.write("\n\nmore " + "word " * 500)
    assert list(find_corpus(str(file)).read())[:5] == before


def test_identity_follows_content_and_names_but_not_the_place(tmp_path: Path) -> None:
    digests = []
    for folder, name, text in [("x", "a", "one"), ("y", "a", "one"), ("z", "a", "two"), ("w", "b", "one")]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.txt").write_text(text)
        digests.append(find_corpus(str(tmp_path / folder)).identity["sha256"])
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_half_a_character_in_json_becomes_a_question_mark(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "before \\ud83d after"}')
    (document,) = find_corpus(str(tmp_path / "a.jsonl")).read()
    assert document.text == "before ? after"


def test_file_that_vanishes_is_named(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    corpus = find_corpus(str(tmp_path))
    (tmp_path / "b.txt").unlink()
    with pytest.raises(OSError, match=r"b\.txt"):
        list(corpus.read())


def test_folder_without_text(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(GraftworkError, match=r"no \.txt, \.md, \.jsonl file in this folder"):
        find_corpus(str(tmp_path))


def test_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(GraftworkError, match=r"table\.csv': a file must end in \.txt, \.md, \.jsonl"):
        find_corpus(str(tmp_path / "table.csv"))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_not_utf8(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"caf\xe9 au lait")
    with pytest.raises(GraftworkError, match=rf"{name}: not UTF-8 text \(byte 3"):
        list(find_corpus(str(tmp_path / name)).read())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 2: not JSON"),
        (json.dumps({"txt": "a"}), "expected an object with a string 'text'; its keys are 'txt'"),
        (json.dumps({"text": 3}), "expected an object with a string 'text'"),
        (json.dumps(["a"]), r"line 2: expected an object, got \["),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"text": "good"}) + "\n" + line + "\n")
    with pytest.raises(GraftworkError, match=message) as raised:
        list(find_corpus(str(file)).read())
    assert f"{file}, line 2" in str(raised.value)
