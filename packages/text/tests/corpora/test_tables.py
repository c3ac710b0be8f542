"""A user's tables: formats, labels, parts, errors.

Reached from here: ``corpora/contrary.py``, ``corpora/values.py``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_text.corpora import LabelledData, LabelledFiles, find_labelled_corpus
from graftwork_text.corpora.remarks import counted

Write = Callable[[str, str], str]
ROWS = [('It is, in a word, "great".', "good"), ("Dull.\nVery dull.", "bad"), ("naïve café 😀", "good")]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(name: str, content: str) -> str:
        path = tmp_path / name
        path.write_text(content, "utf-8")
        return str(path)

    return to_file


def texts(data: LabelledData) -> list[tuple[str, str]]:
    return [(example.texts[0], data.labels[example.label]) for example in (*data.train, *data.test)]


def test_csv_keeps_quotes_commas_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *ROWS])
    assert sorted(texts(find_labelled_corpus(str(path)).read())) == sorted(ROWS)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\na,x\nb,y\n", "utf-8-sig")
    assert len(texts(find_labelled_corpus(str(path)).read())) == 2


def test_tsv_has_no_quoting(write: Write) -> None:
    path = write("reviews.tsv", 'sentence\tgold\n"Great\tgood\nnot "that" dull"\tbad\n')
    data = find_labelled_corpus(path, LabelledFiles(text_columns=["sentence"], label_column="gold")).read()
    assert sorted(texts(data)) == [('"Great', "good"), ('not "that" dull"', "bad")]


def test_jsonl_takes_numbers_and_booleans_as_labels(write: Write) -> None:
    for values, names in (([10, 9, -1], ("-1", "9", "10")), ([True, False], ("False", "True"))):
        rows = [(f"text {value} {n}", value) for n in range(20) for value in values]
        lines = [json.dumps({"text": text, "label": value}) for text, value in rows]
        data = find_labelled_corpus(write("rows.jsonl", "\n\n".join(lines))).read()
        assert data.labels == names
        assert sorted(texts(data)) == sorted((text, str(value)) for text, value in rows)


def test_several_columns_keep_their_order(write: Write) -> None:
    path = write("pairs.csv", "b,a,label\n1,2,yes\n3,4,no\n")
    corpus = find_labelled_corpus(path, LabelledFiles(text_columns=["a", "b"]))
    assert corpus.fields == ("a", "b")
    data = corpus.read()
    assert {example.texts for example in (*data.train, *data.test)} == {("2", "1"), ("4", "3")}


def test_one_file_is_split_by_text_and_a_repeated_example_stays_on_one_side(write: Write) -> None:
    lines = [json.dumps({"text": f"text {n % 400}", "label": n % 400 % 2}) for n in range(800)]
    data = find_labelled_corpus(write("rows.jsonl", "\n".join(lines))).read()
    train, test = ({example.texts for example in part} for part in (data.train, data.test))
    assert len(data.train) + len(data.test) == len(train | test) == 400
    assert 0.12 < len(test) / 400 < 0.28
    # More examples move none of the earlier ones.
    more = [*lines, *(json.dumps({"text": f"more {n}", "label": n % 2}) for n in range(100))]
    grown = find_labelled_corpus(write("rows.jsonl", "\n".join(more))).read()
    assert test <= {example.texts for example in grown.test}


def test_files_of_their_own_for_validation_and_test(write: Write) -> None:
    corpus = find_labelled_corpus(
        write("a.csv", "text,label\none,x\ntwo,y\n"),
        LabelledFiles(
            validation_data=write("b.csv", "text,label\nthree,y\n"),
            test_data=write("c.csv", "text,label\nfour,x\n"),
        ),
    )
    data = corpus.read()
    assert data.labels == ("x", "y")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2, 1, 1]
    assert {"train_sha256", "validation_sha256", "test_sha256"} <= corpus.identity.keys()


def test_the_identity_changes_with_the_content_and_the_columns(write: Write) -> None:
    path = write("a.csv", "text,label,other\none,x,1\ntwo,y,2\n")
    first = find_labelled_corpus(path).identity
    assert first != find_labelled_corpus(path, LabelledFiles(label_column="other")).identity
    write("a.csv", "text,label,other\none,y,1\ntwo,x,2\n")
    assert first != find_labelled_corpus(path).identity


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "txt,label\na,x\n",
            r"line 2: no column 'text', did you mean 'txt'\?; its columns are 'txt', 'label' \(options",
        ),
        ("a.csv", "text,labels\na,x\n", r"line 2: no column 'label', did you mean 'labels'\?; its columns"),
        ("a.csv", "text,label\na,x\nb\n", r"line 3: 1 field where the first line has 2$"),
        ("a.csv", "text,label\na,x\nb,was seen,y\n", r"line 3: 3 fields where the first line has 2"),
        ("a.csv", "text,label\na, \n", r"line 2: the label in column 'label' is empty"),
        ("a.csv", "text,label\na,x\nb,x\n", r"column 'label' holds 1 different label.s. .x., and at least 2"),
        ("a.csv", "", r"a\.csv: holds no rows to read"),
        ("a.csv", "text,label\n,\n", r"a\.csv: holds no rows to read"),
        (
            "a.jsonl",
            '{"text": NaN, "label": "x"}',
            r"the text in column 'text' is the number NaN, and must be a text$",
        ),
        (
            "a.jsonl",
            '{"text": true, "label": "x"}',
            r"the text in column 'text' is true, and must be a text$",
        ),
        (
            "a.jsonl",
            '{"text": "a", "label": NaN}',
            r"the label in column 'label' is the number NaN, and must be",
        ),
        (
            "a.jsonl",
            "{}",
            r"line 1: no column 'text'; it has none \(options text_columns and label_column name",
        ),
        ("a.csv", 'text,label\n"a,x\n', r"line 2: a quotation mark opens a field and none closes it"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{oops}\n', r"line 2: not JSON"),
        ("a.jsonl", "[1]\n", r"line 1: expected an object, got \[1\]"),
        ("a.jsonl", '{"label": "x"}', r"line 1: no column 'text'; its columns are 'label'"),
        (
            "a.jsonl",
            '{"text": null, "label": "x"}',
            r"the text in column 'text' is null, and must be a text$",
        ),
        (
            "a.jsonl",
            '{"text": ["a"], "label": "x"}',
            r"the text in column 'text' is the list \[\"a\"\], and must",
        ),
        (
            "a.jsonl",
            '{"text": "a", "label": null}',
            r"the label in column 'label' is null, and must be a text, a",
        ),
        (
            "a.jsonl",
            '{"text": "a", "label": 0.5}',
            r"the label in column 'label' is the number 0.5, and must be",
        ),
        (
            "a.jsonl",
            '{"text": "a", "label": 1e999}',
            r"the label in column 'label' is the number Infinity, and",
        ),
        (
            "a.jsonl",
            '{"text": "a", "label": {}}',
            r"the label in column 'label' is the object {}, and must be",
        ),
        ("a.txt", "text\n", r"is not an existing .csv or .tsv or .jsonl file"),
    ],
)
def test_mistakes_in_files_name_the_line(write: Write, name: str, content: str, message: str) -> None:
    with pytest.raises(GraftworkError, match=message):
        find_labelled_corpus(write(name, content)).read()


def test_numbers_of_a_text_column_are_text(write: Write) -> None:
    lines = [json.dumps({"text": value, "label": value}) for value in (1, 2)]
    floats = [json.dumps({"text": value + 0.5, "label": value}) for value in (1.0, 2.0)]
    data = find_labelled_corpus(
        write("train.jsonl", "\n".join(lines)),
        LabelledFiles(test_data=write("test.jsonl", "\n".join(floats))),
    ).read()
    assert texts(data) == [("1", "1"), ("2", "2"), ("1.5", "1"), ("2.5", "2")]


@pytest.mark.parametrize("part", ["validation_data", "test_data"])
def test_a_class_that_cannot_be_learnt_is_refused(write: Write, part: str) -> None:
    train = write("train.csv", "text,label\none,x\ntwo,y\n")
    other = write("other.csv", "text,label\nthree,y\nfour,z\n")
    with pytest.raises(
        GraftworkError, match=rf"{other}, line 3: the label is 'z', and {train} has none of its"
    ):
        find_labelled_corpus(train, LabelledFiles(**{part: other})).read()


@pytest.mark.parametrize("part", ["validation_data", "test_data"])
@pytest.mark.parametrize(("name", "content"), [("other.csv", "text,label\n"), ("other.jsonl", "\n")])
def test_a_part_that_is_given_and_has_no_rows_is_refused(
    write: Write, part: str, name: str, content: str
) -> None:
    other = write(name, content)
    files = LabelledFiles(**{part: other})
    with pytest.raises(GraftworkError, match=f"{other}: holds no rows"):
        find_labelled_corpus(write("train.csv", "text,label\none,x\ntwo,y\n"), files).read()


def test_what_is_all_test_part_may_be_of_one_class(write: Write) -> None:
    path = write("one.csv", "text,label\na,x\nb,x\n")
    data = find_labelled_corpus(path, LabelledFiles(test_data=path)).read()
    assert (data.labels, [example.label for example in data.test]) == (("x",), [0, 0])


def test_empty_texts_are_said(write: Write) -> None:
    train = write("train.csv", 'text,label\na,x\n"",y\nb,y\n" ",x\n')
    test = write("test.csv", "text,label\n,x\n")
    data = find_labelled_corpus(train, LabelledFiles(test_data=test)).read()
    assert remarks(data)["empty_texts"] == "3 row(s) with an empty text (first: line 3)"
    assert (
        counted(find_labelled_corpus(train, LabelledFiles(test_data=train)).read().remarks)["empty_texts"]
        == 2
    )


def remarks(data: LabelledData) -> dict[str, str]:
    told = {remark.fact: remark.told for remark in data.remarks}
    assert {fact: int(count) for fact, count in counted(data.remarks).items()} == {
        remark.fact: remark.count for remark in data.remarks
    }
    return told


def test_sound_data_has_no_remarks(write: Write) -> None:
    lines = [f"text {number},{number % 2}.0" for number in range(40)]
    data = find_labelled_corpus(write("rows.csv", "text,label\n" + "\n".join(lines))).read()
    assert (data.labels, data.remarks) == (("0", "1"), ())


def test_quotation_marks_that_a_tsv_keeps_are_said_once(write: Write) -> None:
    train = write("train.tsv", 'text\tlabel\n"a fox"\t1\n"b\t0\n"c"\t0\nd "e"\t1\n')
    data = find_labelled_corpus(
        train, LabelledFiles(test_data=write("test.tsv", "text\tlabel\nf\t1\n"))
    ).read()
    assert [example.texts[0] for example in data.train] == ['"a fox"', '"b', '"c"', 'd "e"']
    told = remarks(data)["rows_with_quotation_marks"]
    assert told.startswith(
        "2 row(s) with a field between quotation marks, which a .tsv file keeps (first: line 2)"
    )
    said = write("said.csv", 'sep=\t\ntext\tlabel\n"a fox"\t1\nb\t0\n')
    data = find_labelled_corpus(
        said, LabelledFiles(test_data=write("test.tsv", "text\tlabel\nf\t1\n"))
    ).read()
    assert ([example.texts[0] for example in data.train], data.remarks) == (["a fox", "b"], ())


def test_what_is_doubtful_is_said_with_counts_and_first_lines(write: Write) -> None:
    train = write(
        "train.csv",
        "text,label\nA fox,good\n,\n a  FOX ,bad\nb,Good\nc, good \nc,bad\nd,1\ne,1.0\nA fox,good\n",
    )
    test = write("test.csv", "text,label\nB,bad\n")
    data = find_labelled_corpus(train, LabelledFiles(test_data=test)).read()
    assert data.labels == ("1", "Good", "bad", "good")
    assert remarks(data) == {
        "empty_rows": "1 row(s) of nothing but separators, passed over like blank lines (first: line 3)",
        "labels_written_in_several_ways": "label 'good' is written 'good' (2 rows) and ' good ' (1 row); "
        "label '1' is written '1' (1 row) and '1.0' (1 row): read as one class each",
        "labels_alike": "labels 'good' (3 rows) and 'Good' (1 row) differ in case or white space alone, and "
        "are classes of their own",
        "texts_with_contrary_labels": "3 text(s) stand under more than one label (first: line 2 and line 4; "
        f"line 6 and line 7; line 5 and {test}, line 2)",
    }


def test_rows_that_are_left_out_are_counted(write: Write) -> None:
    rows = [f"text {number % 40},{number % 2}" for number in range(100)]
    data = find_labelled_corpus(write("rows.csv", "text,label\n" + "\n".join(rows))).read()
    assert len(data.train) + len(data.test) == 40
    assert remarks(data) == {"repeated_rows": "60 row(s) repeat the texts of an earlier one and are left out"}


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\ncafé,x\n".encode("latin-1"))
    with pytest.raises(GraftworkError, match=r"not UTF-8 text .* convert it to UTF-8"):
        find_labelled_corpus(str(path)).read()


def test_names_and_paths_that_are_not_there(write: Write) -> None:
    with pytest.raises(GraftworkError, match=r"data 'bbc-topic' is not .*, did you mean 'bbc-topics'"):
        find_labelled_corpus("bbc-topic")
    path = write("a.csv", "text,label\none,x\ntwo,y\n")
    with pytest.raises(GraftworkError, match=r"test_data 'nowhere.csv' is not an existing .csv"):
        find_labelled_corpus(path, LabelledFiles(test_data="nowhere.csv"))
    with pytest.raises(ValueError, match="text_columns must name at least one column"):
        LabelledFiles(text_columns=[])
    with pytest.raises(GraftworkError, match="test_data must be left out with data = 'bbc-topics'"):
        find_labelled_corpus("bbc-topics", LabelledFiles(test_data=path))
