"""Metrics on two and three processes are those of one, to the bit: by rows, whatever batches there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "evaluate_on_processes.py"
# Numbers of examples and sequences that no number of processes or batch divides.
EXAMPLES, BATCH = 37, 4
PROCESSES = (2, 3)
LABELS = ("red", "green", "blue")


def lines(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory, sentence_folder: Path, causal_folder: Path) -> Path:
    """A file with every task on made-up data of uneven lengths, and whether it is to be sharded too."""
    folder = tmp_path_factory.mktemp("tasks")
    library = folder / "library"
    library.mkdir()
    for number in range(20):
        words = " ".join(f"word {number} of {other}" for other in range(10 + number))
        (library / f"{number}.txt").write_text(words, "utf-8")
    texts = [
        {"text": "a dull film " * (1 + number * 7 % 5), "label": LABELS[number % 3]} for number in range(90)
    ]
    texts = [{**row, "text": f"{number} {row['text']}"} for number, row in enumerate(texts)]
    question = [{"context": f"{number} " * (1 + number % 4), "question": "is it?"} for number in range(90)]
    free = [{**row, "answers": [str(number % 7), "great"]} for number, row in enumerate(question)]
    choice = [
        {**row, "options": list(LABELS[: 2 + number % 2]), "answer": number % 2}
        for number, row in enumerate(question)
    ]
    common = {"validation_examples": EXAMPLES, "evaluation_batch_size": BATCH, "max_length": 40}
    answering = {**common, "model": str(causal_folder), "max_new_tokens": 5}
    classified = {**common, "data": lines(folder, "texts.jsonl", texts)}
    model = {"name": "llama-tiny", "hidden_size": 16, "intermediate_size": 32, "layers": 2, "heads": 2}
    given = {
        "language model": (
            "lm-pretrain",
            {
                "model": model,
                "data": str(library),
                "vocabulary_size": 300,
                "sequence_length": 8,
                "evaluation_tokens": 8 * EXAMPLES,
                "batch_size": BATCH,
                "validation_fraction": 0.2,
                "cache": str(folder / "cache"),
            },
            True,
        ),
        "fresh head": ("sequence-classification", {**classified, "model": str(sentence_folder)}, True),
        "label words": (
            "prompt-classification",
            {**classified, "model": str(causal_folder), "prompts": _prompts(folder)},
            False,
        ),
        "free answers": ("prompt-answering", {**answering, "data": lines(folder, "free.jsonl", free)}, True),
        "choices": ("prompt-answering", {**answering, "data": lines(folder, "choice.jsonl", choice)}, False),
    }
    path = folder / "tasks.json"
    path.write_text(json.dumps(given))
    return path


def _prompts(folder: Path) -> str:
    path = folder / "prompts.toml"
    words = "\n".join(f'{label} = "{label}"' for label in LABELS)
    path.write_text(f'template = "{{text}} is {{label}}"\n[labels]\n{words}\n')
    return str(path)


@pytest.fixture(scope="module")
def measured(tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, list[Any]]]:
    """Metrics of each task, alone and on so many processes."""
    folder = tmp_path_factory.mktemp("measured")
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(tasks), str(folder), *map(str, PROCESSES)],
        # Not by torch.set_num_threads, whose pool every forked process would make again.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return {count: json.loads((folder / f"{count}.json").read_text()) for count in PROCESSES}


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("language model", {"loss", "perplexity", "bits_per_byte"}),
        ("fresh head", {"loss", "accuracy", "macro_f1"}),
        ("label words", {"loss", "accuracy", "macro_f1"}),
        ("free answers", {"loss", "exact_match", "f1"}),
        ("choices", {"loss", "accuracy"}),
    ],
)
def test_metrics_do_not_depend_on_the_number_of_processes(
    measured: dict[int, dict[str, list[Any]]], processes: int, name: str, metrics: set[str]
) -> None:
    ways = [way for way in measured[processes] if way.startswith(name)]
    assert ways
    for way in ways:
        alone, together = measured[processes][way]
        assert alone.keys() == metrics
        assert together == alone, way
