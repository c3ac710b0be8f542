"""One file with a task that predicts, a training of it, and ``graftwork`` with that file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graftwork.cli import main

MINE = """
import torch
from graftwork import GraftworkError, register
from graftwork_toy.tasks import Regression

COLUMNS = ("a", "b", "c", "d")

@register("task")
class Sines(Regression):
    splits = ("train", "validation", "test")

    def __init__(self, *, batch_size: int = 4, validation_loss_rises: bool = False) -> None:
        super().__init__(batch_size=batch_size, validation_loss_rises=validation_loss_rises)
        self.word = "mine"

    def save_assets(self, folder):
        (folder / "words").mkdir()
        (folder / "words" / "first.txt").write_text(self.word)

    def load_assets(self, folder):
        self.word = (folder / "words" / "first.txt").read_text()

    def predict(self, model, inputs, *, digits: int = 3):
        rows = [[float(row[column]) for column in COLUMNS] for row in inputs]
        if any(row[0] == 13 for row in rows):
            raise GraftworkError("13 brings bad luck")
        found = model(torch.tensor(rows)).sum(1).tolist()
        return [{"sum": round(value, digits), "word": self.word, "at once": len(rows)} for value in found]

@register("task")
class Sizes(Regression):
    predict_inputs = "path"

    def __init__(self, *, batch_size: int = 4) -> None:
        super().__init__(batch_size=batch_size)

    def predict(self, model, inputs):
        return [{"bytes": path.stat().st_size, "training": model.training} for path in inputs]

@register("task")
class Mute(Regression):
    def __init__(self, *, batch_size: int = 4) -> None:
        super().__init__(batch_size=batch_size)

@register("optimizer")
class Averaged(torch.optim.SGD):
    # Evaluated at half of the weights that it trains.
    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)

    def _scale(self, factor):
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(factor)

    def eval(self):
        self._scale(0.5)

    def train(self):
        self._scale(2.0)
"""
RECIPE = """
[task]
name = "sines"
[optimizer]
name = "adamw"
lr = 0.01
[trainer]
steps = 4
evaluate_every = 2
checkpoint_every = 2
device = "cpu"
"""


@pytest.fixture
def graftwork(toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command, with the file and its recipe in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    Path("mine.toml").write_text(RECIPE)
    return lambda *arguments: main(["--plugin", "mine.py", *arguments])


@pytest.fixture
def train(graftwork: Callable[..., int]) -> Callable[..., Path]:
    """Train it with some settings; return the run."""

    def run(*settings: str, name: str = "run") -> Path:
        given = [argument for setting in settings for argument in ("--set", setting)]
        assert graftwork("train", "mine.toml", "--out", name, "--quiet", "--no-report", *given) == 0
        return Path(name)

    return run
