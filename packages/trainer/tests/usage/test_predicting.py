"""``graftwork predict`` with a task of one's own in a file.

Reached from here: ``commands/predict.py``, ``usage/outputs.py``.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch
from torch import nn

HEADER = "name,a,b,c,d\n"


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def table(train):
    train()
    Path("in.csv").write_text(HEADER + "".join(f"n{row},{row},0.5,1,2\n" for row in range(5)))


@pytest.fixture
def predict(graftwork, capfd):
    def run(*arguments, ends=0):
        capfd.readouterr()
        assert graftwork("predict", *arguments) == ends
        return capfd.readouterr()

    return run


def test_each_row_has_its_prediction_beside_it_in_order(table, predict):
    found = rows(predict("run", "in.csv", "--batch-size", "2").out)
    assert [row["name"] for row in found] == [f"n{row}" for row in range(5)]
    assert list(found[0]) == ["name", "a", "b", "c", "d", "sum", "word", "at once"]
    assert [row["at once"] for row in found] == ["2", "2", "2", "2", "1"]
    assert len({row["sum"] for row in found}) == 5
    assert {row["word"] for row in found} == {"mine"}


def test_they_are_what_the_model_gives_without_dropout_and_gradients(table, predict):
    from safetensors.torch import load_file

    (first, *_) = rows(predict("run", "in.csv", "--set", "predict.digits=6").out)
    tensors = load_file("run/model/model.safetensors")
    one, other = nn.Linear(4, 16), nn.Linear(16, 3)
    for number, layer in enumerate((one, other)):
        layer.load_state_dict({name: tensors[f"blocks.{number}.{name}"] for name in ("weight", "bias")})
    expected = other(torch.tanh(one(torch.tensor([0.0, 0.5, 1, 2])))).sum()
    assert float(first["sum"]) == pytest.approx(float(expected), abs=1e-5)


def test_json_lines_go_in_and_out(table, predict):
    row = {"a": 1, "b": 2, "c": 3, "d": 4}
    Path("in.jsonl").write_text(json.dumps(row | {"sum": "x"}) + "\n\n" + json.dumps(row))
    assert predict("run", "in.jsonl", "--out", "out.jsonl").out == ""
    one, other = map(json.loads, Path("out.jsonl").read_text().splitlines())
    assert (one["sum"], one["predicted sum"]) == ("x", other["sum"])


def test_what_was_written_before_a_bad_row_stays(table, predict):
    Path("bad.csv").write_text(HEADER + "x,1,1,1,1\ny,13,1,1,1\nz,1,1,1,1\n")
    told = predict("run", "bad.csv", "--out", "out.csv", ends=2).err
    assert told.endswith("graftwork: error: bad.csv, line 3: 13 brings bad luck\n")
    assert [row["name"] for row in rows(Path("out.csv").read_text())] == ["x"]
    Path("short.csv").write_text(HEADER + "x,1,1,1,1\ny,1,1\n")
    told = predict("run", "short.csv", "--out", "out.csv", ends=2).err
    assert "short.csv, line 3: 3 fields where the first line has 5" in told
    assert [row["name"] for row in rows(Path("out.csv").read_text())] == ["x"]


def test_files_of_a_folder_are_given_by_path(train, predict):
    train("task.name=sizes")
    folder = Path("pictures")
    (folder / "more").mkdir(parents=True)
    (folder / "b.png").write_bytes(b"12345")
    (folder / "more" / "a.png").write_bytes(b"123")
    found = rows(predict("run", "pictures").out)
    assert found == [
        {"file": "b.png", "bytes": "5", "training": "False"},
        {"file": "more/a.png", "bytes": "3", "training": "False"},
    ]


def test_standard_input_is_lines_of_text_or_of_json(table, predict, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1, "b": 2, "c": 3, "d": 4}\n'))
    assert rows(predict("run", "-").out)[0]["word"] == "mine"
    monkeypatch.setattr("sys.stdin", io.StringIO("some words\n"))
    assert "standard input, line 1: KeyError: 'a'" in predict("run", "-", ends=2).err


def test_what_cannot_be_is_one_sentence(table, train, predict):
    for arguments, told in {
        ("in.pdf",): "inputs 'in.pdf': there is no such file or folder",
        ("mine.toml",): "a file must end in .csv, .tsv, .jsonl, .txt, .md",
        ("in.csv", "--set", "predict.digit=3"): "predict has no option 'digit', did you mean 'digits'?",
        ("in.csv", "--set", "predict.digits=x"): "--set predict.digits=x: expected whole number",
        ("in.csv", "--batch-size", "0"): "--batch-size must be at least 1, got 0",
    }.items():
        assert told in predict("run", *arguments, ends=2).err
    train("task.name=mute", name="mute")
    told = predict("mute", "in.csv", ends=2).err
    assert "mute predicts nothing: it has no predict(model, inputs)" in told
    assert not Path("out.csv").exists()
