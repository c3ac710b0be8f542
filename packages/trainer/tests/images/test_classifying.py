"""Tasks of labelled images: batches of every part, measures, and what is written of a model.

Reached from here: ``images/digits.py``, ``images/labelled.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from graftwork_trainer.data.order import EndlessBatches
from graftwork_trainer.images.classifying import ClassificationTask
from graftwork_trainer.images.labelled import Images

PIXELS = np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1) / 8
IMAGES = Images(PIXELS, np.arange(8) % 2, 2)


class Threshold(nn.Module):
    """Says 1 of what is brighter than a half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        brighter = images.flatten(1) - 0.5
        return torch.cat([-brighter, brighter], 1)


class Task(ClassificationTask):
    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")
    evaluated_at_once: ClassVar[int] = 3

    @property
    def held_out(self) -> Images:
        return IMAGES

    def held_out_part(self, split: str) -> Images:
        return IMAGES if split == "validation" else IMAGES.subset(np.array([7, 0]))

    def training_batches(self, rank: int, world_size: int, seed: int) -> Iterable[Any]:
        return EndlessBatches(IMAGES, batch_size=2, rank=rank, world_size=world_size, seed=seed)


def labels(split: str, rank: int = 0, world_size: int = 1) -> list[int]:
    given = Task().batches(split, rank=rank, world_size=world_size, seed=0)
    return [round(value * 8) for batch in given for value in batch["features"].flatten().tolist()]


def test_a_held_out_part_is_given_once_and_dealt_out_in_turn() -> None:
    assert labels("validation") == [*range(8)]
    assert (labels("validation", 0, 2), labels("validation", 1, 2)) == ([0, 1, 2, 6, 7], [3, 4, 5])
    assert labels("test") == [7, 0]
    with pytest.raises(ValueError, match=r"split must be 'train', 'validation' or 'test', got 'dev'"):
        labels("dev")


def test_loss_and_measures_are_means_over_images(tmp_path: Path) -> None:
    task, model = Task(), Threshold()
    loss, metrics = task.loss(model, IMAGES.batch(np.arange(8)))
    # Right of 0, 2 and 5, 7; 4 is as bright as both, and the first wins.
    assert metrics["accuracy"].item() == 5 / 8
    whole = task.evaluate(model)
    assert whole == pytest.approx({"loss": loss.item(), "accuracy": 5 / 8})
    task.artefacts(model, tmp_path)
    table = (tmp_path / "confusion-matrix.csv").read_text("utf-8").splitlines()
    assert table == ["true label,predicted 0,predicted 1", "0,3,1", "1,2,2"]


def test_the_digest_is_of_all_that_images_say() -> None:
    other = [
        Images(PIXELS + 1, IMAGES.labels, 2),
        Images(PIXELS, 1 - IMAGES.labels, 2),
        Images(PIXELS, IMAGES.labels, 3),
        Images(PIXELS.reshape(4, 2, 1, 1), IMAGES.labels, 2),
    ]
    assert len({images.sha256 for images in [IMAGES, *other]}) == 5
    assert Images(PIXELS.copy(), IMAGES.labels.astype(np.int32), 2).sha256 == IMAGES.sha256
