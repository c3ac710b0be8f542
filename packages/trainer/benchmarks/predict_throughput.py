"""How much slower ``graftwork predict`` is than a bare loop over the same rows and batches; the bar is 0.95.

Both read one CSV file, run one model on the same batches and write one CSV file; in turn, several rounds.

    python packages/trainer/benchmarks/predict_throughput.py [ROWS] [ROUNDS]
"""

from __future__ import annotations

import csv
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graftwork_trainer.parallel import World
from graftwork_trainer.usage.inputs import read_inputs
from graftwork_trainer.usage.outputs import Rows
from graftwork_trainer.usage.predicting import predictions
from graftwork_trainer.usage.trained import TrainedModel

BAR, BATCH, WIDTH, LENGTH = 0.95, 32, 64, 96


class Classifier(nn.Module):
    """A small transformer over the bytes of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(256, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(self.table(tokens)).mean(1))
        return scores


class Sentiment:
    """Says of each text how probable two labels are."""

    def predict(self, model: nn.Module, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        padded = [row["text"].encode()[:LENGTH].ljust(LENGTH) for row in inputs]
        tokens = torch.tensor([list(text) for text in padded])
        found = model(tokens).softmax(1).tolist()
        return [
            {"predicted": "good" if good > bad else "bad", "good": good, "bad": bad} for bad, good in found
        ]


def by_hand(model: nn.Module, source: Path, target: Path) -> None:
    """The loop that one writes without Graftwork."""
    with source.open(newline="") as read, target.open("w", newline="") as written, torch.no_grad():
        rows = csv.DictReader(read)
        writer = csv.DictWriter(written, ["number", "text", "predicted", "good", "bad"])
        writer.writeheader()
        while batch := list(itertools.islice(rows, BATCH)):
            writer.writerows(
                row | found for row, found in zip(batch, Sentiment().predict(model, batch), strict=True)
            )


def by_graftwork(model: nn.Module, source: Path, target: Path) -> None:
    """What the command does once the model is there."""
    task: Any = Sentiment()
    trained = TrainedModel(task, model, World.alone(torch.device("cpu")), 0, "", {})
    with target.open("w", newline="") as written:
        rows = Rows(written, "csv")
        for one in predictions(trained, read_inputs(str(source), "row"), {}, BATCH):
            rows.write(one)


def seconds(action: Callable[..., None], *arguments: Any) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - start


def main(count: int = 2048, rounds: int = 7) -> int:
    """Measure, print, and say whether the bar is met."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Classifier().eval()
    with tempfile.TemporaryDirectory() as folder:
        source, one, other = (Path(folder) / name for name in ("in.csv", "hand.csv", "graftwork.csv"))
        with source.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["number", "text"])
            writer.writerows([number, f"Text number {number} of some words. " * 3] for number in range(count))
        by_hand(model, source, one)
        by_graftwork(model, source, other)
        pairs = [
            (seconds(by_hand, model, source, one), seconds(by_graftwork, model, source, other))
            for _ in range(rounds)
        ]
        labels = [
            [row["predicted"] for row in csv.DictReader(path.open(newline=""))] for path in (one, other)
        ]
    assert labels[0] == labels[1]
    ratios = [hand / own for hand, own in pairs]
    hand, own = (count / statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(ratios)
    print(f"by hand {hand:,.0f} rows/s, graftwork {own:,.0f} rows/s")
    print(f"ratio {ratio:.3f} (rounds {min(ratios):.3f} to {max(ratios):.3f}); bar {BAR}")
    print("met" if ratio >= BAR else "NOT met")
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
