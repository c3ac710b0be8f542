"""Tables that a run leaves."""

from __future__ import annotations

import csv

import torch

from graftwork_trainer.tables import write_confusion_matrix, write_csv


def test_rows_are_true_labels_and_columns_predictions(tmp_path):
    labels, predictions = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 1, 1, 0, 2])
    write_confusion_matrix(tmp_path / "counts.csv", predictions, labels, ["a", "b", "c"])
    with (tmp_path / "counts.csv").open(newline="") as file:
        heading, *counts = csv.reader(file)
    assert heading == ["true label", "predicted a", "predicted b", "predicted c"]
    assert [row[1:] for row in counts] == [
        ["1", "2", "0"],
        ["0", "0", "0"],
        ["1", "0", "1"],
    ]


def test_numbers_have_eight_digits_and_what_is_missing_is_empty(tmp_path):
    write_csv(tmp_path / "table.csv", ["name", "value"], [["a, b", 1 / 3], ["c", None], ["d", 7]])
    assert (tmp_path / "table.csv").read_text().splitlines() == [
        "name,value",
        '"a, b",0.33333333',
        "c,",
        "d,7",
    ]
