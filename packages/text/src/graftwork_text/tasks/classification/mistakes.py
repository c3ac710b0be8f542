"""On which texts a classification is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from graftwork_text.corpora import LabelledExample
from graftwork_trainer.tables import write_csv

_MOST_MISTAKES = 24
# Many corpora may be computed on and not passed on, and a report is passed on.
_MOST_WORDS = 24


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
    write_csv(
        path,
        ["text", "label", "predicted", "probability"],
        (
            [
                " | ".join(map(shortened, example.texts)),
                names[example.label],
                names[prediction],
                f"{probability:.4f}",
            ]
            for probability, example, prediction in wrong[:_MOST_MISTAKES]
        ),
    )


def shortened(text: str) -> str:
    """The first words of a text.

    >>> shortened("one two")
    'one two'
    >>> len(shortened("word " * 100).split())
    25
    """
    words = text.split()
    return " ".join([*words[:_MOST_WORDS], "…"] if len(words) > _MOST_WORDS else words)
