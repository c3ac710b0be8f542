"""Objects of JSON lines, of a file and of standard input: read, or refused with their line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from graftwork import GraftworkError
from graftwork_trainer.records import objects, records

GOOD = '{"text": "a"}'


def read(tmp_path: Path, lines: str) -> list[tuple[int, Any]]:
    """From a file; as a stream it must be the same."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines.encode("utf-8"))
    try:
        found: Any = list(records(path))
    except GraftworkError as error:
        found = error
    try:
        streamed: Any = list(objects(lines.splitlines(keepends=True), str(path)))
    except GraftworkError as error:
        streamed = error
    assert str(found) == str(streamed)
    if isinstance(found, GraftworkError):
        raise found
    return list(found)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n \n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_blank_lines_and_marks(tmp_path: Path, end: str, mark: str) -> None:
    found = read(tmp_path, mark + end.join([GOOD, mark + GOOD]))
    assert found == [(1, {"text": "a"}), (1 + end.count("\n") + (end == "\r"), {"text": "a"})]


def test_half_characters_become_question_marks(tmp_path: Path) -> None:
    line = r'{"a": ["\ud800", "\ud83d\ude00", "\\ud800", {"\uDFFF": 1}]}'
    assert read(tmp_path, line) == [(1, {"a": ["?", "😀", r"\ud800", {"?": 1}]})]


def test_what_python_writes_and_nobody_reads_refuses_no_row(tmp_path: Path) -> None:
    ((_, row),) = read(tmp_path, '{"text": "a", "score": NaN, "more": [-Infinity], "meta": {"k": 1, "k": 2}}')
    assert row["text"] == "a"
    assert math.isnan(row["score"])
    assert (row["more"], row["meta"]) == ([-math.inf], {"k": 2})


def test_the_separator_of_lines_that_only_unicode_knows_is_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a\u2028b\x85c"}\n', "utf-8")
    assert list(records(path)) == [(1, {"text": "a\u2028b\x85c"})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops}", r"not JSON \(Expecting property name .* at character 2\)"),
        (f"{GOOD}{GOOD}", r"not JSON \(Extra data at character 14\)"),
        (
            '[{"text": "a"}]',
            r"""expected an object, got \[{"text": "a"}\]; every line must hold a whole object""",
        ),
        (
            "[",
            r"not JSON on its own; every line must hold a whole object \(`jq -c '\.\[\]'` writes an array so",
        ),
        ("{", r"not JSON on its own; every line must hold"),
        ('{"text": "cut sho', r"not JSON on its own; every line must hold"),
        ('"text"', r'expected an object, got "text"'),
        ('{"a": 1, "b": 2, "a": 3}', r"not JSON \(key 'a' stands 2 times in one object\)"),
        ('{"b": {"c": 1}, "a": 1, "a": {}}', r"not JSON \(key 'a' stands 2 times in one object\)"),
        (f"{GOOD},", r"not JSON \(a comma after the object; remove it\)"),
        (f"{GOOD} , ", r"not JSON \(a comma after the object; remove it\)"),
        ('{"a": ' + "[" * 100_000, r"its JSON is nested too deeply"),
        ('{"a": ' + "1" * 5_000 + "}", r"not JSON \(Exceeds the limit"),
    ],
)
def test_what_is_no_object_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(GraftworkError, match=rf"rows\.jsonl, line 3: {message}"):
        read(tmp_path, f"{GOOD}\n\n{line}\n")


def test_encodings_are_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for content, message in (
        (GOOD.encode("utf-16"), "is UTF-16 by its byte order mark; save it as UTF-8"),
        (b'{"a": 1}\n{"a": "\xe9"}\n', r"line 2: not UTF-8 text \(byte 0xe9"),
        (b'{"a": "\xed\xa0\x80"}\n', r"line 1: not UTF-8 text \(byte 0xed"),
        (b'{"a": "\x00"}\n', "line 1: holds a NUL byte"),
    ):
        path.write_bytes(content)
        with pytest.raises(GraftworkError, match=message):
            list(records(path))
