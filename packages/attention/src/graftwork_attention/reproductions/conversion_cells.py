"""One cell of the table: a model, an attention and a seed, and what it can do before, right after and later.

A cell is trained by AdamW at a constant rate behind a short warmup, in one thread, and depends on nothing but
its own fields: whichever process trains it, the figures are the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from graftwork import Kind, choose
from graftwork_attention.conversion import convert
from graftwork_trainer.durable import write_durably
from graftwork_trainer.evaluation import evaluate

Source = Literal["text", "text from scratch", "images"]

MAX_LENGTH = 32
# Of as many landmarks and features as sequences of 17 to 32 tokens have a use for.
OPTIONS: Mapping[str, Mapping[str, Any]] = {"nystrom": {"landmarks": 16}, "performer": {"features": 64}}
_RATES: Mapping[Source, float] = {"text": 1e-4, "text from scratch": 3e-4, "images": 1e-4}
_WARMUP = 20
_BATCH = 16
_LIBRARIES = ("transformers", "timm")


@dataclass(frozen=True, slots=True)
class Settings:
    """What all cells of a table have in common.

    Args:
        steps: after how many training steps accuracy is taken; the largest ends a cell.
        steps_before: with the model's own attention, from the pretrained weights; the same for every cell of
            a seed.
        test_examples: that accuracy is of.
        weights: of text, as the task takes them.
        corpus: text and labels, likewise.
        image_weights: likewise.
        images: likewise.
    """

    steps: tuple[int, ...] = (100, 300)
    steps_before: int = 100
    test_examples: int = 400
    weights: str = "minilm"
    corpus: str = "rotten-tomatoes"
    image_weights: str = "vit-s-focus"
    images: str = "mnist-5k"


@dataclass(frozen=True, slots=True)
class Cell:
    """A model whose attention is replaced, and trained.

    Args:
        source: pretrained weights of text or of images, or text from random weights.
        attention: that takes the place of the model's own; none for the model before that.
        seed: of the weights that are drawn, of dropout and of the order of examples.
    """

    source: Source
    attention: str | None
    seed: int

    @property
    def name(self) -> str:
        """As files of it are called."""
        return f"{self.source.replace(' ', '-')}-{self.attention or 'before'}-{self.seed}"


def task_of(source: Source, settings: Settings) -> Any:
    """The task of a cell, by name: this package imports no other that trains.

    Raises:
        GraftworkError: its package is not installed.
    """
    if source == "images":
        options: dict[str, Any] = {
            "model": {"name": "timm-vit", "weights": settings.image_weights},
            "data": settings.images,
            "image_size": 56,
        }
        name = "attention:pixels"
    else:
        scratch = source == "text from scratch"
        options = {
            "model": {"name": "pretrained", "weights": settings.weights, "random_weights": scratch},
            "data": settings.corpus,
            "max_length": MAX_LENGTH,
            "freeze": [] if scratch else ["*embeddings*"],
        }
        name = "text:sequence-classification"
    options |= {"batch_size": _BATCH, "test_examples": settings.test_examples}
    return choose(Kind.TASK, name, options)()


def replaced(model: nn.Module, attention: str, source: Source) -> None:
    """Replace the self-attention of a task's model, in place."""
    inner = next(m for m in model.modules() if type(m).__module__.partition(".")[0] in _LIBRARIES)
    convert(
        inner, attention, max_len=None if source == "images" else MAX_LENGTH, **OPTIONS.get(attention, {})
    )


def train_cell(cell: Cell, settings: Settings, folder: Path) -> None:
    """Train a cell and write its figures, ``NAME.json``; of a model before, its weights too.

    Args:
        cell: whose model before, if it has one, was trained.
        settings: of the table.
        folder: of the figures and weights.

    Raises:
        GraftworkError: what the task needs is not installed, or cannot be fetched.
    """
    torch.set_num_threads(1)
    started = time.process_time()
    task = task_of(cell.source, settings)
    torch.manual_seed(cell.seed)
    model = task.build_model()
    accuracies: dict[str, float] = {}
    if cell.attention is None:
        accuracies["pretrained"] = _accuracy(task, model)
        steps: Sequence[int] = (settings.steps_before,)
    else:
        if cell.source != "text from scratch":
            _load(model, folder / f"{Cell(cell.source, None, cell.seed).name}.safetensors")
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        # Weights that only this attention has are the same whatever was drawn before.
        torch.manual_seed(cell.seed)
        replaced(model, cell.attention, cell.source)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)
        accuracies["right after"] = _accuracy(task, model)
        steps = settings.steps
    # Another order than before, and the same one for every attention.
    seed = cell.seed + (0 if cell.attention is None else 1000)
    for count in training(task, model, steps, cell.source, seed=seed):
        accuracies[str(count)] = _accuracy(task, model)
    if cell.attention is None:
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
            folder / f"{cell.name}.safetensors",
        )
    figures = {
        **asdict(cell),
        "accuracy": accuracies,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": time.process_time() - started,
    }
    write_durably(folder / f"{cell.name}.json", json.dumps(figures, indent=1).encode())


def _load(model: nn.Module, file: Path) -> None:
    model.load_state_dict(load_file(file))


def training(
    task: Any, model: nn.Module, steps: Sequence[int], source: Source, *, seed: int
) -> Iterator[int]:
    """Train, and yield at each of some counts of steps.

    Args:
        task: of the model.
        model: with its attention in place.
        steps: the counts; the largest ends it.
        source: by which the learning rate is.
        seed: of dropout and of the order of examples.
    """
    rate = _RATES[source]
    torch.manual_seed(seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate)
    batches = iter(task.batches("train", rank=0, world_size=1, seed=seed))
    for step in range(1, max(steps) + 1):
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, step / _WARMUP)
        optimizer.zero_grad(set_to_none=True)
        task.loss(model, next(batches))[0].backward()
        optimizer.step()
        if step in steps:
            yield step


def _accuracy(task: Any, model: nn.Module) -> float:
    return float(evaluate(task, model, "test")["accuracy"])
