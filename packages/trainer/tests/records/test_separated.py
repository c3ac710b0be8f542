"""Rows of ``.csv`` and ``.tsv`` files: read as the csv module reads them, or refused with their line.

Reached from here: ``records/lines.py``.
"""

from __future__ import annotations

import csv
import io
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_trainer.records import records

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to_file


def rows(path: Path, passed_over: list[int] | None = None) -> list[tuple[int, list[str]]]:
    return [(line, list(row.values())) for line, row in records(path, passed_over=passed_over)]


def by_csv(content: str) -> list[list[str]] | None:
    """The rows after the first, those without a word left out; nothing where there is something to refuse."""
    lines = list(io.StringIO(content, newline=""))
    reader = csv.reader(lines, strict=True)
    found = []
    try:
        header = next(reader)
        start = reader.line_num
        for fields in reader:
            is_blank = not "".join(lines[start : reader.line_num]).strip()
            start = reader.line_num
            if not is_blank and (len(fields) == 1 or any(field.strip() for field in fields)):
                found.append(fields)
    except csv.Error:
        return None
    fit = all(len(fields) == len(header) and fields != header for fields in found)
    return found if fit else None


def test_rows_are_those_of_the_csv_module(write: Write) -> None:
    draw = random.Random(0)
    read = 0
    for _ in range(400):
        content = "x,y\n" + "".join(draw.choices('a"\n\r, é', [2, 3, 1, 1, 3, 1, 1], k=draw.randint(1, 12)))
        path, expected = write("rows.csv", content), by_csv(content)
        if expected is None:
            with pytest.raises(GraftworkError, match=r"rows\.csv, line \d+: "):
                rows(path)
        else:
            read += 1
            assert [fields for _, fields in rows(path)] == expected, content
    assert read > 40


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("blank", ["", "\n", " \n"])
@pytest.mark.parametrize("last", ["", "\n"])
@pytest.mark.parametrize(("name", "separator"), [("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t")])
def test_line_ends_marks_and_blank_lines(
    write: Write, name: str, separator: str, end: str, mark: str, blank: str, last: str
) -> None:
    content = f"{blank}a,b\n{blank}1,2\n{blank}3,4{last}".replace(",", separator).replace("\n", end)
    step = 2 if blank else 1
    assert rows(write(name, mark + content)) == [(2 * step, ["1", "2"]), (3 * step, ["3", "4"])]


def test_a_row_is_placed_by_its_first_line(write: Write) -> None:
    assert rows(write("t.csv", 'a,b\n"1\r\n\r2",x\n3,4\n')) == [(2, ["1\r\n\r2", "x"]), (5, ["3", "4"])]


def test_a_tsv_has_no_quoting(write: Write) -> None:
    assert rows(write("t.tsv", 'a\tb\n"x\t""y"\n')) == [(2, ['"x', '""y"'])]


def test_rows_of_nothing_but_separators_are_passed_over_and_given(write: Write) -> None:
    for name, separator in (("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t")):
        passed_over: list[int] = []
        content = 'a,b\n,\n1,2\n,,,\n\n , \n"",\n'.replace(",", separator)
        if name == "t.tsv":
            content = content.replace('""', "")
        assert rows(write(name, content), passed_over) == [(3, ["1", "2"])]
        assert passed_over == [2, 4, 6, 7]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_empty_text_of_a_single_column_is_a_row(write: Write, end: str) -> None:
    content = 'text\nfirst\n""\n\nthird\n" "\n \n"\n\n"\nlast\n'.replace("\n", end)
    passed_over: list[int] = []
    found = rows(write("t.csv", content), passed_over)
    assert found == [(2, ["first"]), (3, [""]), (5, ["third"]), (6, [" "]), (8, [end * 2]), (11, ["last"])]
    assert not passed_over


def test_a_line_that_says_the_separator_is_taken_and_passed_over(write: Write) -> None:
    for separator in (",", ";", "\t"):
        for said in (f"sep={separator}\n", f'"SEP={separator}"\r\n', f"\ufeff\nsep={separator}\n\n"):
            content = f'{said}a{separator}b\n1{separator}"x{separator}"\n'
            assert [fields for _, fields in rows(write("t.csv", content))] == [["1", f"x{separator}"]]
    assert rows(write("t.csv", "sep=;\na;b\n1;2\n")) == [(3, ["1", "2"])]
    assert rows(write("t.csv", "sep=;\n")) == []
    assert rows(write("t.tsv", 'sep=\t\na\tb\n1\t"2\n')) == [(3, ["1", '"2'])]


@pytest.mark.parametrize(
    ("content", "names", "row"),
    [
        ("id;text;label (0,1)\n1;x, y;0\n2;z;1\n", ["id", "text", "label (0,1)"], ["1", "x, y", "0"]),
        ('"text, full";label\na, b;x\n', ["text, full", "label"], ["a, b", "x"]),
        ('"text; full",label\na,x\n', ["text; full", "label"], ["a", "x"]),
        ("text,label (a;b)\na; c,x\n", ["text", "label (a;b)"], ["a; c", "x"]),
        # Either would do: a comma is what the file's name says.
        ("a,b;c\n1,2;3\n", ["a", "b;c"], ["1", "2;3"]),
        ("text, label\na, x\n", ["text", "label"], ["a", " x"]),
    ],
)
def test_a_header_that_holds_commas_and_semicolons(
    write: Write, content: str, names: list[str], row: list[str]
) -> None:
    assert next(records(write("t.csv", content))) == (2, dict(zip(names, row, strict=True)))


def test_columns_without_a_name(write: Write) -> None:
    # As pandas writes an index, and a spreadsheet columns that somebody has once clicked on.
    (found,) = records(write("t.csv", ",a,b,,\n0,x,y,, \n"))
    assert found == (2, {"": "0", "a": "x", "b": "y"})


def test_an_empty_file_and_one_of_a_header_have_no_rows(write: Write) -> None:
    for content in ("", "\n\n", "\ufeff", "a,b\n", "a"):
        assert rows(write("t.csv", content)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a,b\n1,2\nx,y,z\n",
            r"line 3: 3 fields where the first line has 2 \(a field that holds a comma must",
        ),
        (
            "a;b\n1,2;x\nx;y;z\n",
            r"line 3: 3 fields where the first line has 2 \(a field that holds a semicolon",
        ),
        ("a,b\n1,2\nx\n", r"line 3: 1 field where the first line has 2$"),
        ('a,b\n1,2\n""\n', r"line 3: 1 field where the first line has 2$"),
        (
            "a,b\n1,2,\n3,4,\n",
            r"line 2: 3 fields where the first line has 2 \(this one ends with a comma and the first does",
        ),
        (
            "a,b,\n1,2\n",
            r"line 2: 2 fields where the first line has 3 \(the first ends with a comma and this one does",
        ),
        (
            "a,b\n1,2\n3,4,\n",
            r"line 3: 3 fields where the first line has 2 \(a field that holds a comma must",
        ),
        ("a, a\n1,2\n", r"line 1: names column 'a' 2 times"),
        ("a,b\n1,2\n\n" + "x," * 9, r"line 4: 10 fields where the first line has 2"),
        ("a,b,a\n1,2,3\n", r"line 1: names column 'a' 2 times"),
        ("\n,\n1,2\n", r"line 2: names no column, and the first line must name all"),
        (
            "a,b,\n1,2, was seen\n",
            r"line 2: ' was seen' stands in column 3, to which the first line gives no",
        ),
        ("a,b\n1,2\na,b\n", r"line 3: the first line once more \(of a second table\?\); remove it"),
        ('a,b\n"1\n2",x\n3,"4\n5,6\n', r"line 4: a quotation mark opens a field and none closes it; within"),
        (
            'a,b\n1,2\n"Item" 31 was fine,a\n',
            r"line 3: a quotation mark closes a field and ' 31 was fine,a' goes",
        ),
        (
            'a,b\n1,"2\n3,"4"\n',
            r"""line 3: a quotation mark closes a field \(opened in line 2\) and '4"' goes on""",
        ),
        ("a\tb\n1\t2\n", r"line 1: has tabs and no comma; name a table of tabs \.tsv"),
        (b"a,b\n1,\x00\n", r"line 2: holds a NUL byte"),
        ("a,b\n1,2\n".encode("utf-16"), r"t\.csv: is UTF-16 by its byte order mark; save it as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), r"line 1: holds a NUL byte, .* UTF-16 and to be saved as UTF-8"),
        ("a,b\n1,café\n".encode("latin-1"), r"line 2: not UTF-8 text \(byte 0xe9: .*\); convert it to UTF-8"),
        ('a,b\n"é",café\n'.encode("latin-1"), r"line 2: not UTF-8 text \(byte 0xe9"),
        ("é,b\n".encode("latin-1"), r"line 1: not UTF-8 text \(byte 0xe9"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(write: Write, content: str | bytes, message: str) -> None:
    path = write("t.csv", content)
    with pytest.raises(GraftworkError, match=message) as raised:
        rows(path)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", r"line 1: has commas and no tab; name a table of commas \.csv"),
        ("a;b\n1;2\n", r"line 1: has semicolons and no tab; name a table of semicolons \.csv"),
        ("a\tb\n1\t2\t3\n", r"line 2: 3 fields where the first line has 2 \(no field can hold a tab\)"),
        ("a\tb\n1\n", r"line 2: 1 field where the first line has 2$"),
        ("a\tb\ta\n", r"line 1: names column 'a' 2 times"),
    ],
)
def test_the_same_of_tabs(write: Write, content: str, message: str) -> None:
    with pytest.raises(GraftworkError, match=message):
        rows(write("t.tsv", content))


def test_rows_before_a_wrong_one_are_given(write: Write) -> None:
    found = records(write("t.csv", "a,b\n1,2\n3\n"))
    assert next(found) == (2, {"a": "1", "b": "2"})
    with pytest.raises(GraftworkError, match="line 3"):
        next(found)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(GraftworkError, match=r"none\.csv: there is no such file"):
        rows(tmp_path / "none.csv")


def test_many_columns_and_marks_take_no_time_beyond_their_number(write: Write) -> None:
    names = ",".join(f"c{number}" for number in range(20_000))
    ((_, fields),) = rows(write("t.csv", f"{names}\n" + ",".join(itertools.repeat('""""', 20_000))))
    assert set(fields) == {'"'}
