"""Text files and folders of them as documents."""

from __future__ import annotations

import json
import os
import tracemalloc
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
    with pytest.raises(GraftworkError, match=r"b\.txt: there is no such file"):
        list(corpus.read())


def test_folder_without_text(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(GraftworkError, match=r"no \.txt, \.md, \.jsonl file in this folder"):
        find_corpus(str(tmp_path))


def test_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(GraftworkError, match=r"table\.csv': a file must end in \.txt, \.md, \.jsonl"):
        find_corpus(str(tmp_path / "table.csv"))


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.jsonl"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good\ncaf\xe9 au lait\n", r"line 2: not UTF-8 text \(byte 0xe9"),
        ("\ufeffgood\n".encode("utf-16-le"), "is UTF-16 by its byte order mark; save it as UTF-8"),
        ("\ufeffgood\n".encode("utf-16-be"), "is UTF-16 by its byte order mark; save it as UTF-8"),
        ("\ufeffgood\n".encode("utf-32-le"), "is UTF-16 by its byte order mark; save it as UTF-8"),
        ("good\n".encode("utf-16-le"), "line 1: holds a NUL byte"),
    ],
)
def test_other_encodings(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    content = content.replace(b"good", b'{"text": "good"}') if name == "a.jsonl" else content
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GraftworkError, match=rf"{name}(, |: ){message}"):
        list(find_corpus(str(tmp_path / name)).read())


WRITTEN = {
    "plain": lambda text: text.encode(),
    "mark": lambda text: ("\ufeff" + text).encode(),
    "windows": lambda text: ("\ufeff" + text.replace("\n", "\r\n")).encode(),
    "macintosh": lambda text: text.replace("\n", "\r").encode(),
}


@pytest.mark.parametrize("way", WRITTEN)
def test_marks_and_line_ends_are_no_text(tmp_path: Path, way: str) -> None:
    paragraphs = "\n\n".join(f"Paragraph {number}\nin two lines." for number in range(20))
    rows = "\n".join(json.dumps({"text": f"Row {number}."}) for number in range(3))
    contents = {
        "alone.txt": paragraphs,
        "rows.jsonl": rows,
        "folder/a.txt": "One\n",
        "folder/b.txt": paragraphs,
    }
    (tmp_path / "folder").mkdir()
    read = []
    for write in (WRITTEN["plain"], WRITTEN[way]):
        for name, content in contents.items():
            (tmp_path / name).write_bytes(write(content))
        read.append(
            [list(find_corpus(str(tmp_path / data)).read()) for data in ("alone.txt", "rows.jsonl", "folder")]
        )
    assert read[0] == read[1]
    assert read[0][2][0].text == "One\n"


@pytest.mark.parametrize("mark", ["<|endoftext|>", "  <|endoftext|> "])
def test_lines_of_end_of_text_separate_documents(tmp_path: Path, mark: str) -> None:
    stories = [
        "Once there was a fox.\n\nIt ran.\n",
        "A crow sat\non a tree.\n",
        "It said <|endoftext|> aloud.\n",
    ]
    joined = f"{mark}\n".join([*stories[:2], "  \n", stories[2], ""])
    (tmp_path / "stories.txt").write_text(joined)
    found = list(find_corpus(str(tmp_path / "stories.txt")).read())
    assert [document.text for document in found] == stories
    assert [document.identifier for document in found] == [f"stories.txt#{number:06d}" for number in range(3)]
    (tmp_path / "other.txt").write_text("Another.")
    (tmp_path / "last.txt").write_text(f"The last.\n{mark}\n")
    found = list(find_corpus(str(tmp_path)).read())
    assert [(document.identifier, document.text) for document in found] == [
        ("last.txt", "The last.\n"),
        ("other.txt", "Another."),
        *((f"stories.txt#{number:06d}", story) for number, story in enumerate(stories)),
    ]


def test_blank_files_are_blank_documents_of_folders_and_none_alone(tmp_path: Path) -> None:
    for name, content in {
        "a.txt": "",
        "b.txt": " \n\f\n",
        "c.txt": "<|endoftext|>\n",
        "d.jsonl": "\n",
    }.items():
        (tmp_path / name).write_text(content)
        assert list(find_corpus(str(tmp_path / name)).read()) == []
    assert [document.text.strip() for document in find_corpus(str(tmp_path)).read()] == ["", ""]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "folder"])
@pytest.mark.parametrize("change", ["appended", "replaced", "same-size"])
def test_text_that_changes_while_it_is_read_is_refused_and_digested_anew(
    tmp_path: Path, name: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "folder").mkdir()
    for file in ("a.txt", "a.jsonl", "folder/a.txt", "folder/b.jsonl"):
        words = "some words of text " * 100
        row = json.dumps({"text": words}) + "\n" if file.endswith("l") else words + "\n\n"
        (tmp_path / file).write_text(row * 400)
    corpus = find_corpus(str(tmp_path / name))
    documents = iter(corpus.read())
    next(documents)
    changed = tmp_path / name / "b.jsonl" if name == "folder" else tmp_path / name
    content = changed.read_text()
    more = content[: content.index("\n") + 1]
    if change == "appended":
        with changed.open("a") as stream:
            stream.write(more)
    elif change == "replaced":
        changed.write_text(content + more)
    else:
        changed.write_text(content[:-50_000] + content[-50_000:].replace("words", "WORDS"))
    with pytest.raises(GraftworkError, match=rf"{changed.name}: changed since its digest was taken"):
        list(documents)
    after = find_corpus(str(tmp_path / name))
    assert after.identity != corpus.identity
    assert list(after.read())


@pytest.mark.parametrize("wide", ["", "😀"], ids=["narrow", "wide"])
@pytest.mark.parametrize("name", ["line.txt", "line.jsonl"])
def test_a_long_line_costs_a_few_times_its_size(tmp_path: Path, name: str, wide: str) -> None:
    text = "A sentence of words that are long for once. " * 20_000 + wide
    file = tmp_path / name
    file.write_text(json.dumps({"text": text}, ensure_ascii=False) if name == "line.jsonl" else text, "utf-8")
    corpus = find_corpus(str(file))
    tracemalloc.start()
    try:
        characters = sum(len(document.text) for document in corpus.read())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert characters > 0.99 * len(text)
    assert peak < (10 if wide else 4) * file.stat().st_size


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 2: not JSON"),
        (json.dumps({"txt": "a"}), "'text' is missing, did you mean 'txt'\\?; its keys are 'txt'"),
        (json.dumps({}), "'text' is missing; it has no keys"),
        (json.dumps({"text": 3}), "'text' is 3, and must be a string"),
        (json.dumps({"text": None}), "'text' is null, and must be a string"),
        (json.dumps({"text": ["a"]}), r"'text' is \["),
        (json.dumps(["a"]), r"line 2: expected an object, got \["),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"text": "good"}) + "\n" + line + "\n")
    with pytest.raises(GraftworkError, match=message) as raised:
        list(find_corpus(str(file)).read())
    assert f"{file}, line 2" in str(raised.value)


def test_marks_within_a_file_are_no_text(tmp_path: Path) -> None:
    """Files that were put together have some."""
    (tmp_path / "a.txt").write_text("\ufeffOne.\n\n\ufeffTwo.\n", "utf-8")
    assert [document.text for document in find_corpus(str(tmp_path)).read()] == ["One.", "Two."]
    (tmp_path / "b.txt").write_text("Three.\n\ufeff<|endoftext|>\r\n\ufeffFour.\r\n", "utf-8")
    assert [document.text for document in find_corpus(str(tmp_path)).read()] == [
        "One.\n\nTwo.\n",
        "Three.\n",
        "Four.\n",
    ]


def test_a_file_whose_name_is_not_utf8_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.")
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("Two.")
    except OSError:
        pytest.skip("names of files are UTF-8 here")
    assert [(document.identifier, document.text) for document in find_corpus(str(tmp_path)).read()] == [
        ("a.txt", "One."),
        (r"caf\xe9.txt", "Two."),
    ]


@pytest.mark.parametrize(
    ("text", "between"),
    [
        ("One.\n\nTwo.\n", "\n\n"),
        ("One.\n \t\nTwo.", "\n\n"),
        ("One.\nTwo.\n", "\n"),
        ("\n\n\nOne.\nTwo.\n\n \n", "\n"),
        ("One.", "\n"),
        ("", "\n"),
        (" " * 200_000 + "\n\nOne.\n" + "\n" * 200_000, "\n"),
    ],
)
def test_parts_of_a_document_are_its_paragraphs_or_else_its_lines(
    tmp_path: Path, text: str, between: str
) -> None:
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": text}))
    for document in find_corpus(str(tmp_path)).read():
        assert (document.text, document.between, document.cut) == (text, between, False)


@pytest.mark.parametrize("text", ["😀{spaces}", "😀{spaces}\r\n", " 😀{spaces}.\n", "😀. {spaces}a b \n"])
def test_a_long_line_of_spaces_costs_a_few_times_its_size(tmp_path: Path, text: str) -> None:
    file = tmp_path / "line.txt"
    file.write_text(text.format(spaces=" " * 1_000_000), "utf-8", newline="")
    corpus = find_corpus(str(file))
    tracemalloc.start()
    try:
        assert sum(1 for _ in corpus.read()) >= 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * file.stat().st_size
