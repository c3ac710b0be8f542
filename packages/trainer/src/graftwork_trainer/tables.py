"""Tables that people open: CSV files in one dialect."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def write_csv(path: Path, heading: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table: numbers with eight digits, what is missing (None) empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        for row in rows:
            writer.writerow([f"{cell:.8g}" if isinstance(cell, float) else cell for cell in row])


def write_confusion_matrix(path: Path, predictions: Tensor, labels: Tensor, names: Sequence[str]) -> None:
    """Write how often each label was predicted for each true one.

    Args:
        path: of a ``.csv`` file.
        predictions: int64 [examples].
        labels: int64 [examples].
        names: of the labels.
    """
    classes = len(names)
    counts = torch.bincount(labels * classes + predictions, minlength=classes * classes)
    write_csv(
        path,
        ["true label", *(f"predicted {name}" for name in names)],
        ([name, *row] for name, row in zip(names, counts.view(classes, classes).tolist(), strict=True)),
    )
