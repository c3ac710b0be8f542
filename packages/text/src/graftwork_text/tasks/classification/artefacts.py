"""What a classification leaves to be looked at: which labels it confuses, and on which texts."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from graftwork_text.corpora import LabelledExample

_MOST_MISTAKES = 24
# Many corpora may be computed on and not passed on, and a report is passed on.
_MOST_WORDS = 24


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
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["true label", *(f"predicted {name}" for name in names)])
        for name, row in zip(names, counts.view(classes, classes).tolist(), strict=True):
            table.writerow([name, *row])


def write_mistakes(
    path: Path, scores: Tensor, examples: Sequence[LabelledExample], names: Sequence[str]
) -> None:
    """Write the wrong predictions that the model is surest of, their texts shortened.

    Args:
        path: of a ``.csv`` file.
        scores: [examples, labels], whose softmax are probabilities.
        examples: in the same order.
        names: of the labels.
    """
    probabilities = scores.double().softmax(1)
    wrong = [
        (probability, example, prediction)
        for probability, prediction, example in zip(
            probabilities.amax(1).tolist(), scores.argmax(1).tolist(), examples, strict=True
        )
        if prediction != example.label
    ]
    wrong.sort(key=lambda mistake: (-mistake[0], mistake[1].texts))
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["text", "label", "predicted", "probability"])
        for probability, example, prediction in wrong[:_MOST_MISTAKES]:
            text = " | ".join(map(shortened, example.texts))
            table.writerow([text, names[example.label], names[prediction], f"{probability:.4f}"])


def shortened(text: str) -> str:
    """The first words of a text.

    >>> shortened("one two")
    'one two'
    >>> len(shortened("word " * 100).split())
    25
    """
    words = text.split()
    return " ".join([*words[:_MOST_WORDS], "…"] if len(words) > _MOST_WORDS else words)
