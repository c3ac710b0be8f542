"""Few-shot classification: learn a backbone on episodes of some classes, adapt a head to new ones.

Plain, backbone and one output layer over all training classes are trained together, and the backbone is then
judged in the same way: the baseline without episodes.

The digits show the mechanics and no more: heads of training episodes come to 99 % on images that no agent
holds, while for the three new digits a backbone of random weights serves as well as a learned one (87 %
against 84 %). Features of a pretrained model (``data = "features"``) are the case that it is for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_decentral.bilevel.meta_learning import MetaLearning
from graftwork_decentral.bilevel.setup import BilevelSetup
from graftwork_decentral.draws import checked_seed
from graftwork_decentral.extras import require_for_data
from graftwork_decentral.tasks.images import load_images
from graftwork_decentral.tasks.partition import Part, even_parts
from graftwork_trainer.files import check_given
from graftwork_trainer.folders import given_path
from graftwork_trainer.images.classifying import LabelledImagesTask
from graftwork_trainer.images.labelled import ImageBatch, Images

_NEW_DIGITS = 3
_HELD_OUT = 5
"""One image in so many of each training class is kept to evaluate the learned heads with."""


class MetaLearningTask(LabelledImagesTask):
    """Learn features from which few images of new classes suffice.

    Args:
        data: digits (7 classes to learn on and 3 new ones), or features from folder.
        folder: with train.npz and test.npz, each with features [samples, ...] and labels [samples]; the
            classes of the two differ.
        episodes: training episodes, the same for all agents.
        ways: classes of an episode.
        shots: support images of each class in a batch of one agent.
        queries: query images of each class in a batch of one agent, and in evaluation.
        hidden: features that the backbone gives.
        ridge: of the heads.
        new_episodes: episodes of new classes in an evaluation.
        batch_size: images in a batch where the task is trained without episodes.
        seed: of episodes, their spreading over agents, and batches.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: files are missing, there are too few classes, or what reads them is not installed.
    """

    def __init__(
        self,
        *,
        data: Literal["digits", "features"] = "digits",
        folder: Path | None = None,
        episodes: int = 20,
        ways: int = 3,
        shots: int = 5,
        queries: int = 10,
        hidden: int = 32,
        ridge: float = 1e-3,
        new_episodes: int = 20,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        sizes = {"episodes": episodes, "shots": shots, "queries": queries, "hidden": hidden}
        for option, count in {**sizes, "new_episodes": new_episodes, "batch_size": batch_size}.items():
            if count < 1:
                raise ValueError(f"{option} must be at least 1, got {count}")
        if ways < 2:
            raise ValueError(f"ways must be at least 2, got {ways}")
        if not 0 < ridge < math.inf:
            raise ValueError(f"ridge must be above 0 and finite, got {ridge}")
        checked_seed(seed)
        require_for_data(data)
        self._data, self._folder = data, folder
        self._episodes, self._ways, self._shots, self._queries = episodes, ways, shots, queries
        self._hidden, self._ridge, self._new_episodes = hidden, ridge, new_episodes
        self._batch_size, self._seed = batch_size, seed

    @classmethod
    def smallest(cls, folder: Path) -> dict[str, Any]:
        """Return options with which it trains in seconds."""
        return {"episodes": 2, "new_episodes": 1}

    @cached_property
    def _sets(self) -> tuple[Images, Images]:
        """Images of training classes, and of new ones, labels from 0 in each."""
        known, new = _seen_and_new_digits() if self._data == "digits" else _from_folder(self._folder)
        for which, images in (("training", known), ("new", new)):
            if images.classes < self._ways:
                raise GraftworkError(
                    f"task.ways must be at most {images.classes}, the number of {which} classes, got "
                    f"{self._ways}"
                )
        rarest = int(np.bincount(new.labels, minlength=new.classes).min())
        if self._shots + self._queries > rarest:
            raise GraftworkError(
                f"task.shots + task.queries must be at most {rarest}, the images of the rarest new class, "
                f"got {self._shots} + {self._queries}"
            )
        return known, new

    @property
    def held_out(self) -> Images:
        """Images of the new classes."""
        return self._sets[1]

    def facts(self) -> dict[str, str | int | float]:
        """What the data is, as plain data."""
        known, new = self._sets
        return {
            "data": self._data,
            "train_images": len(known),
            "train_classes": known.classes,
            "new_images": len(new),
            "new_classes": new.classes,
            "train_sha256": known.sha256,
            "new_sha256": new.sha256,
        }

    def backbone(self) -> nn.Module:
        """Return the backbone with fresh weights from torch's global generator."""
        inputs = math.prod(self._sets[0].features.shape[1:])
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, self._hidden), nn.Tanh())

    def build_model(self) -> nn.Module:
        """Return the backbone with an output for every training class."""
        return nn.Sequential(self.backbone(), nn.Linear(self._hidden, self._sets[0].classes))

    def training_batches(self, rank: int, world_size: int, seed: int) -> Iterable[ImageBatch]:
        """Return an agent's images of training classes without end."""
        known = self._sets[0]
        rows = even_parts(len(known), world_size, self._seed)[rank]
        return Part(known, rows).shuffled(self._batch_size, (seed, rank))

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return ``loss`` and ``accuracy`` on queries of new classes, a head adapted for each episode."""
        backbone = model[0]  # type: ignore[index]
        vector = torch.cat([parameter.detach().flatten() for parameter in backbone.parameters()])
        return self._adapted(self._problem(), vector)

    def bilevel(self, agents: int) -> BilevelSetup:
        """Return the problem with the images of every class dealt out to agents.

        Args:
            agents: how many.

        Raises:
            GraftworkError: there are fewer images of a class than agents need.
        """
        problem = self._problem()
        known = self._sets[0]
        rows = [np.flatnonzero(known.labels == label) for label in range(known.classes)]
        held = [of_class[::_HELD_OUT] for of_class in rows]
        dealt = [np.setdiff1d(of_class, out) for of_class, out in zip(rows, held, strict=True)]
        fewest = min(map(len, dealt))
        if fewest < 2 * agents:
            raise GraftworkError(
                f"trainer.agents must be at most {fewest // 2}, so that each has 2 of the {fewest} images of "
                f"the rarest training class, got {agents}"
            )
        parts = [
            [of_class[part] for part in even_parts(len(of_class), agents, self._seed)] for of_class in dealt
        ]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            start = torch.cat([parameter.detach().flatten() for parameter in self.backbone().parameters()])

        def batches(step: int, some: Sequence[int]) -> tuple[Any, Any, Any]:
            three = [
                _stacked([self._batch(known, parts, step, which, agent) for agent in some])
                for which in range(3)
            ]
            return three[0], three[1], three[2]

        return BilevelSetup(
            problem=problem,
            upper_start=start,
            lower_start=torch.zeros(problem.lower_variables),
            batches=batches,
            evaluate=lambda x, y: {
                **self._adapted(problem, x.detach().cpu().float()),
                **self._on_episodes(problem, x, y, held),
            },
            directions={**self.metric_directions, "episode_accuracy": "higher", "episode_loss": "lower"},
            unit=self.unit,
            units_per_step=3 * agents * self._episodes * self._ways * (self._shots + self._queries),
        )

    def _problem(self) -> MetaLearning:
        return MetaLearning(
            self.backbone(), self._hidden, episodes=self._episodes, ways=self._ways, ridge=self._ridge
        )

    @cached_property
    def _classes_of_episodes(self) -> NDArray[np.int64]:
        """``[episodes, ways]``."""
        generator = np.random.default_rng([self._seed, 0])
        classes = self._sets[0].classes
        return np.stack([generator.choice(classes, self._ways, replace=False) for _ in range(self._episodes)])

    def _batch(
        self, known: Images, parts: list[list[NDArray[np.int64]]], step: int, which: int, agent: int
    ) -> dict[str, Tensor]:
        generator = np.random.default_rng([self._seed, step, which, agent])
        support, query = [], []
        for classes in self._classes_of_episodes:
            for label in classes:
                own = generator.permutation(parts[label][agent])
                half = max(1, len(own) // 2)
                support.append(own[:half][np.arange(self._shots) % half])
                query.append(own[half:][np.arange(self._queries) % (len(own) - half)])
        return {
            **self._episode_images("support", known, support, self._shots),
            **self._episode_images("query", known, query, self._queries),
        }

    def _episode_images(
        self, name: str, known: Images, rows: list[NDArray[np.int64]], each: int
    ) -> dict[str, Tensor]:
        chosen = np.stack(rows).reshape(self._episodes, self._ways * each)
        labels = torch.arange(self._ways).repeat_interleave(each).expand(self._episodes, -1)
        return {name: torch.from_numpy(known.features[chosen]), f"{name}_labels": labels}

    @torch.no_grad()
    def _on_episodes(
        self, problem: MetaLearning, x: Tensor, y: Tensor, held: list[NDArray[np.int64]]
    ) -> dict[str, float]:
        """Loss and accuracy of the learned heads on images of training classes that no agent holds."""
        known, least = self._sets[0], min(map(len, held))
        chosen = np.stack(
            [
                np.concatenate([held[label][:least] for label in classes])
                for classes in self._classes_of_episodes
            ]
        )
        labels = torch.arange(self._ways).repeat_interleave(least).repeat(self._episodes)
        images = torch.from_numpy(known.features[chosen])
        logits = problem.logits(x.detach().cpu().float(), y.detach().cpu().float(), images).flatten(0, 1)
        return {
            "episode_loss": float(F.cross_entropy(logits, labels)),
            "episode_accuracy": float((logits.argmax(1) == labels).float().mean()),
        }

    def _adapted(self, problem: MetaLearning, backbone: Tensor) -> dict[str, float]:
        new = self._sets[1]
        generator = np.random.default_rng([self._seed, 1])
        loss = right = 0.0
        for _ in range(self._new_episodes):
            support, query = [], []
            for label in generator.choice(new.classes, self._ways, replace=False):
                own = generator.permutation(np.flatnonzero(new.labels == label))
                support.append(own[: self._shots])
                query.append(own[self._shots : self._shots + self._queries])
            targets = [
                torch.repeat_interleave(torch.arange(self._ways), torch.tensor([len(part) for part in rows]))
                for rows in (support, query)
            ]
            images = [torch.from_numpy(new.features[np.concatenate(rows)]) for rows in (support, query)]
            head = problem.adapted(backbone, images[0], targets[0])
            with torch.no_grad():
                features = problem.backbone(backbone, images[1])
                logits = features @ head[:, :-1].mT + head[:, -1]
            loss += float(F.cross_entropy(logits, targets[1]))
            right += float((logits.argmax(1) == targets[1]).float().mean())
        return {"loss": loss / self._new_episodes, "accuracy": right / self._new_episodes}


def _stacked(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([batch[name] for batch in batches]) for name in batches[0]}


def _seen_and_new_digits() -> tuple[Images, Images]:
    train, test = load_images("digits", None, 0)
    features = np.concatenate([train.features, test.features])
    labels = np.concatenate([train.labels, test.labels])
    learned = train.classes - _NEW_DIGITS
    known = labels < learned
    return (
        Images(features[known], labels[known], learned),
        Images(features[~known], labels[~known] - learned, _NEW_DIGITS),
    )


def _from_folder(folder: Path | None) -> tuple[Images, Images]:
    if folder is None:
        raise GraftworkError("folder: data = 'features' is read from train.npz and test.npz; say where")
    sets = []
    for name in ("train.npz", "test.npz"):
        path = given_path(str(folder), "folder") / name
        if not os.path.lexists(path):
            raise GraftworkError(f"{path}: no such file; it holds arrays features and labels")
        check_given(path)
        sets.append(_from_archive(path))
    return sets[0], sets[1]


def _from_archive(path: Path) -> Images:
    """Read one file as :func:`numpy.savez` writes it; arrays of objects, which are pickles, are refused."""
    try:
        arrays = np.load(path, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array")
        with arrays:
            if not {"features", "labels"} <= set(arrays.files):
                raise GraftworkError(f"{path}: must hold arrays features and labels, has {arrays.files}")
            features, names = arrays["features"].astype(np.float32), arrays["labels"]
        if names.shape != features.shape[:1]:
            raise ValueError(f"features are {list(features.shape)} and labels {list(names.shape)}")
    except GraftworkError:
        raise
    except Exception as error:  # zipfile and numpy raise whatever damage leads them to
        raise GraftworkError(f"{path}: is no .npz file of numbers ({error})") from error
    classes, labels = np.unique(names, return_inverse=True)
    return Images(features, labels.astype(np.int64), len(classes))
