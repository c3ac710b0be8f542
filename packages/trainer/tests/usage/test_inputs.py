"""Inputs of ``graftwork predict``: encodings, line ends, what is passed over."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from graftwork import GraftworkError
from graftwork_trainer.usage.inputs import read_inputs


def given(source: Path | str) -> list[Any]:
    return [one.given for one in read_inputs(str(source), "row")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_text(tmp_path: Path, end: str) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(f"\ufeffone{end}{end}two \u2028{end}".encode())
    assert given(path) == [{"text": "one"}, {"text": "two \u2028"}]


def test_standard_input_with_a_mark_and_in_another_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('\ufeff{"a": 1}\n\n{"a": 2}\n'))
    assert given("-") == [{"a": 1}, {"a": 2}]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), "utf-8"))
    with pytest.raises(GraftworkError, match="standard input: not UTF-8 text"):
        given("-")


def test_standard_input_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/proc/self/mem", encoding="utf-8") as stream:  # noqa: PTH123 - as a shell gives it
        monkeypatch.setattr("sys.stdin", stream)
        with pytest.raises(GraftworkError, match=r"^standard input: cannot be read: Input/output error$"):
            given("-")


def test_quotation_marks_that_a_tsv_keeps_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.tsv").write_text('a\n"b"\nc\n"d"\n')
    assert given(tmp_path / "in.tsv") == [{"a": '"b"'}, {"a": "c"}, {"a": '"d"'}]
    assert "in.tsv: 2 row(s) with a field between quotation marks, which a .tsv" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["a\n".encode("utf-16"), b"\xe9\n", b"a\x00b\n"])
def test_other_encodings_are_told(tmp_path: Path, content: bytes) -> None:
    for source in (tmp_path / "in.txt", tmp_path / "folder" / "in.txt"):
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(content)
        with pytest.raises(GraftworkError, match=r"in\.txt.*UTF-"):
            given(source if source.parent == tmp_path else source.parent)


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.txt", "._a.txt", ".ipynb_checkpoints/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one\r\n", "utf-8-sig", newline="")
    assert given(tmp_path) == [{"text": "one\n"}]
    (tmp_path / "a.txt").unlink()
    with pytest.raises(
        GraftworkError, match=r"no \.txt or \.md file in this folder .* begins with a dot is passed"
    ):
        given(tmp_path)


def test_a_row_of_nothing_but_separators_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a,b\n1,2\n,\n")
    assert given(path) == [{"a": "1", "b": "2"}]
    assert f"{path}: 1 row(s) of nothing but separators, passed over" in capsys.readouterr().err
