"""What a classification leaves for the report: counts against single predictions, mistakes in order."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from graftwork import choose
from graftwork_text.corpora import LabelledExample
from graftwork_text.tasks.classification.mistakes import write_mistakes
from graftwork_text.tasks.classification.sequence_classification import SequenceClassification
from graftwork_trainer.evaluation import evaluation_mode


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def written(task: SequenceClassification, model: torch.nn.Module, folder: Path) -> dict[str, str]:
    folder.mkdir()
    with evaluation_mode(model):
        task.artefacts(model, folder)
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def test_tables_are_of_the_validation_examples_and_the_same_each_time(
    sentence_folder: Path, small: Callable[..., Any], tmp_path: Path
) -> None:
    options = small(sentence_folder, validation_examples=37, evaluation_batch_size=5)
    task: SequenceClassification = choose("task", "sequence-classification", options)()
    torch.manual_seed(3)
    model = task.build_model()
    first, second = (written(task, model, tmp_path / name) for name in ("first", "second"))
    assert first == second
    predicted = Counter()
    for example in task.parts.validation:
        batch = task.scoring.encode([example]).batch(torch.zeros(1, dtype=torch.int64).numpy())
        with evaluation_mode(model):
            predicted[example.label, int(task.scoring.scores(model, batch).argmax())] += 1
    assert rows(tmp_path / "first" / "confusion-matrix.csv") == [
        ["true label", "predicted negative", "predicted positive"],
        ["negative", str(predicted[0, 0]), str(predicted[0, 1])],
        ["positive", str(predicted[1, 0]), str(predicted[1, 1])],
    ]
    mistakes = rows(tmp_path / "first" / "mistakes.csv")[1:]
    assert len(mistakes) == min(24, predicted[0, 1] + predicted[1, 0])
    assert mistakes
    assert all(label != prediction for _, label, prediction, _ in mistakes)
    probabilities = [float(probability) for *_, probability in mistakes]
    assert probabilities == sorted(probabilities, reverse=True)
    label_of = {example.texts[0]: task.data.labels[example.label] for example in task.parts.validation}
    assert all(label_of[text] == label for text, label, *_ in mistakes)


def test_no_more_than_short_phrases_of_few_texts_are_written(tmp_path: Path) -> None:
    examples = [LabelledExample((f"{number} " + "long " * 100, "second " * 50), 0) for number in range(90)]
    scores = torch.stack([torch.zeros(90), torch.linspace(0.1, 4, 90)], 1)
    write_mistakes(tmp_path / "mistakes.csv", scores, examples, ["no", "yes"])
    mistakes = rows(tmp_path / "mistakes.csv")[1:]
    assert len(mistakes) == 24
    assert mistakes[0][0].startswith("89 ")
    assert mistakes[0][1:] == ["no", "yes", f"{torch.tensor(4.0).sigmoid().item():.4f}"]
    assert max(len(text.split()) for text, *_ in mistakes) <= 2 * 25 + 1


def test_a_model_without_a_mistake_leaves_an_empty_table(tmp_path: Path) -> None:
    scores = torch.tensor([[1.0, 0.0]])
    write_mistakes(tmp_path / "mistakes.csv", scores, [LabelledExample(("x",), 0)], ["no", "yes"])
    assert rows(tmp_path / "mistakes.csv") == [["text", "label", "predicted", "probability"]]
