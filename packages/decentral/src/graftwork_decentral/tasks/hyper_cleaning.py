"""Hyper-cleaning of images whose labels are partly wrong, as a bilevel task and as a plain one.

Plain, the model is trained on the corrupted labels as they are: the baseline without cleaning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork_decentral.bilevel.hyper_cleaning import HyperCleaning, SoftmaxHyperCleaning
from graftwork_decentral.bilevel.setup import BilevelSetup
from graftwork_decentral.draws import checked_seed
from graftwork_decentral.extras import require_for_data
from graftwork_decentral.tasks.area_under_curve import area_under_curve
from graftwork_decentral.tasks.images import load_images
from graftwork_decentral.tasks.partition import Part, Partition, checked_alpha, parts_of
from graftwork_decentral.tasks.spread_images import SpreadImages
from graftwork_trainer.images.classifying import ClassificationTask
from graftwork_trainer.images.labelled import ImageBatch, Images

_CORRUPTION, _TRAINING_PART, _CLEAN_PART, _START = range(4)


class HyperCleaningTask(ClassificationTask):
    """Find the wrong labels among the training images, with the help of a few clean ones.

    Args:
        data: digits, or fashion-mnist from files.
        folder: of fashion-mnist's four IDX files, gzipped or not.
        train_samples: images with labels that may be wrong, at most what there is.
        clean_samples: images with right labels for the upper loss, taken from the same.
        corruption: share of training labels that are replaced by a wrong one.
        partition: how both are spread over agents, by their right labels.
        alpha: of the Dirichlet partition; small is uneven.
        model: linear (softmax regression) or mlp (one hidden layer).
        hidden: width of the mlp.
        ridge: weight of the squared norm of the parameters in the lower loss.
        batch_share: share of an agent's images in a batch of a bilevel step.
        batch_size: images in a batch where the task is trained without cleaning; an agent that holds fewer
            gives all it has.
        seed: of the split, the corruption, the partition and the batches.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: files are missing, or what reads them is not installed.
    """

    unit = "samples"

    def __init__(
        self,
        *,
        data: Literal["digits", "fashion-mnist"] = "digits",
        folder: Path | None = None,
        train_samples: int = 1000,
        clean_samples: int = 300,
        corruption: float = 0.6,
        partition: Partition = "dirichlet",
        alpha: float = 0.1,
        model: Literal["linear", "mlp"] = "linear",
        hidden: int = 300,
        ridge: float = 1e-3,
        batch_share: float = 1.0,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        for option, count in {
            "train_samples": train_samples,
            "clean_samples": clean_samples,
            "hidden": hidden,
            "batch_size": batch_size,
        }.items():
            if count < 1:
                raise ValueError(f"{option} must be at least 1, got {count}")
        if not 0 <= corruption < 1:
            raise ValueError(f"corruption must be in 0..1 and below 1, got {corruption}")
        if not 0 < batch_share <= 1:
            raise ValueError(f"batch_share must be above 0 and at most 1, got {batch_share}")
        if not 0 <= ridge < math.inf:
            raise ValueError(f"ridge must be at least 0 and finite, got {ridge}")
        checked_alpha(alpha)
        checked_seed(seed)
        require_for_data(data)
        self._data, self._folder = data, folder
        self._train_samples, self._clean_samples = train_samples, clean_samples
        self._corruption = corruption
        self._partition: Partition = partition
        self._alpha = alpha
        self._model, self._hidden, self._ridge = model, hidden, ridge
        self._batch_share, self._batch_size, self._seed = batch_share, batch_size, seed
        self._parts: dict[int, list[NDArray[np.int64]]] = {}

    @cached_property
    def _images(self) -> tuple[Images, Images, Images]:
        """Those with labels to clean (still right), clean ones, and held-out ones."""
        known, test = load_images(self._data, self._folder, self._seed)
        needed = self._train_samples + self._clean_samples
        if needed > len(known):
            raise ValueError(
                f"train_samples + clean_samples must be at most {len(known)}, the images of {self._data}, "
                f"got {needed}"
            )
        rows = np.arange(len(known)) if self._data == "digits" else self._generator(9).permutation(len(known))
        train, clean = rows[: self._train_samples], rows[self._train_samples : needed]
        return known.subset(train), known.subset(clean), test

    @property
    def held_out(self) -> Images:
        """Images that no agent trains on."""
        return self._images[2]

    @cached_property
    def corrupted(self) -> NDArray[np.bool_]:
        """Which training labels are wrong, ``[train_samples]``."""
        wrong = np.zeros(self._train_samples, dtype=bool)
        order = self._generator(_CORRUPTION).permutation(self._train_samples)
        wrong[order[: round(self._corruption * self._train_samples)]] = True
        return wrong

    @cached_property
    def training(self) -> Images:
        """The training images with their labels, some of them wrong."""
        images = self._images[0]
        shift = self._generator(_CORRUPTION, 1).integers(1, images.classes, len(images))
        labels = np.where(self.corrupted, (images.labels + shift) % images.classes, images.labels)
        return Images(images.features, labels, images.classes)

    def build_model(self) -> nn.Module:
        """Return the model with fresh weights from torch's global generator."""
        inputs = int(np.prod(self.training.features.shape[1:]))
        if self._model == "linear":
            return nn.Sequential(nn.Flatten(), nn.Linear(inputs, self.training.classes))
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(inputs, self._hidden),
            nn.ReLU(),
            nn.Linear(self._hidden, self.training.classes),
        )

    def training_batches(self, rank: int, world_size: int, seed: int) -> Iterable[ImageBatch]:
        """Return an agent's batches of corrupted training images without end."""
        rows = self._training_parts(world_size)[rank]
        return Part(self.training, rows).shuffled(self._batch_size, (seed, rank))

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean cross-entropy with the ridge, labels taken as they are, and the accuracy."""
        loss, metrics = super().loss(model, batch)
        squares = torch.stack([parameter.square().sum() for parameter in model.parameters()]).sum()
        return loss + self._ridge * squares, metrics

    def facts(self) -> dict[str, str | int | float]:
        """What the data is, as plain data."""
        return {
            "data": self._data,
            "train_samples": self._train_samples,
            "clean_samples": self._clean_samples,
            "test_samples": len(self.held_out),
            "wrong_labels": int(self.corrupted.sum()),
            "train_sha256": self.training.sha256,
            "clean_sha256": self._images[1].sha256,
            "test_sha256": self.held_out.sha256,
        }

    def bilevel(self, agents: int) -> BilevelSetup:
        """Return the problem with both sets of images spread over agents.

        Args:
            agents: how many.

        Raises:
            GraftworkError: no partition gives every agent an image of both sets.
        """
        clean = self._images[1]
        training = self.training
        spread = SpreadImages(
            training,
            self._training_parts(agents),
            clean,
            parts_of(
                clean.labels,
                agents,
                self._partition,
                self._alpha,
                self._seed + _CLEAN_PART,
                what="clean samples",
            ),
            share=self._batch_share,
            seed=self._seed,
        )
        model = self._starting_model()
        inputs = int(np.prod(training.features.shape[1:]))
        problem = (
            SoftmaxHyperCleaning(inputs, training.classes, len(training), self._ridge)
            if self._model == "linear"
            else HyperCleaning(model, len(training), self._ridge)
        )
        start = (
            torch.zeros(problem.lower_variables)
            if self._model == "linear"
            else torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        )
        return BilevelSetup(
            problem=problem,
            upper_start=torch.zeros(len(training)),
            lower_start=start,
            batches=spread,
            evaluate=lambda x, y: self._evaluate_pair(model, x, y),
            directions={"wrong_label_auc": "higher", **self.metric_directions},
            unit=self.unit,
            units_per_step=3 * self._batch_share * (len(training) + len(clean)),
        )

    def _evaluate_pair(self, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
        nn.utils.vector_to_parameters(y.detach().float(), model.to(y.device).parameters())
        metrics = self.evaluate(model)
        if self.corrupted.any():
            weights = x.detach().cpu().double().numpy()
            metrics["wrong_label_auc"] = area_under_curve(-weights, self.corrupted)
        return metrics

    def _starting_model(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((self._seed * 4 + _START) % 2**63)
            return self.build_model()

    def _training_parts(self, agents: int) -> list[NDArray[np.int64]]:
        if agents not in self._parts:
            # By the right labels: that someone mislabelled an image does not change who holds it.
            right, seed = self._images[0].labels, self._seed + 1000 * _TRAINING_PART
            self._parts[agents] = parts_of(right, agents, self._partition, self._alpha, seed)
        return self._parts[agents]

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *purpose])
