"""Two sets of images spread over agents, as the batches of hyper-cleaning, padded to one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork_trainer.images.labelled import Images


class SpreadImages:
    """Batches of some agents at a step: a function of seed, step and agent, padded to one length."""

    def __init__(
        self,
        training: Images,
        training_parts: Sequence[NDArray[np.int64]],
        clean: Images,
        clean_parts: Sequence[NDArray[np.int64]],
        *,
        share: float,
        seed: int,
    ) -> None:
        self._sets = ((training, training_parts), (clean, clean_parts))
        self._share, self._seed = share, seed
        self._whole: dict[tuple[int, ...], dict[str, Tensor]] = {}

    def __call__(self, step: int, agents: Sequence[int]) -> tuple[Any, Any, Any]:
        if self._share == 1:
            key = tuple(agents)
            if key not in self._whole:
                self._whole[key] = self._batch(0, 0, agents)
            return (self._whole[key],) * 3
        return tuple(self._batch(step, which, agents) for which in range(3))  # type: ignore[return-value]

    def _batch(self, step: int, which: int, agents: Sequence[int]) -> dict[str, Tensor]:
        batch: dict[str, Tensor] = {}
        for number, (images, parts) in enumerate(self._sets):
            prefix = "clean_" if number else ""
            chosen = [self._chosen(parts[agent], step, which, agent, number) for agent in agents]
            longest = max(len(self._drawn(part)) for part in parts)
            rows = np.zeros((len(agents), longest), dtype=np.int64)
            share = np.zeros((len(agents), longest), dtype=np.float32)
            for place, (agent, own) in enumerate(zip(agents, chosen, strict=True)):
                rows[place, : len(own)] = own
                share[place, : len(own)] = len(parts[agent]) / len(own) * len(parts) / len(images)
            features = images.features.reshape(len(images), -1)
            batch[f"{prefix}features"] = torch.from_numpy(features[rows])
            batch[f"{prefix}labels"] = torch.from_numpy(images.labels[rows])
            batch[f"{prefix}share"] = torch.from_numpy(share)
            if not number:
                batch["index"] = torch.from_numpy(rows)
        return batch

    def _drawn(self, part: NDArray[np.int64]) -> range:
        return range(max(1, round(self._share * len(part))))

    def _chosen(
        self, part: NDArray[np.int64], step: int, which: int, agent: int, number: int
    ) -> NDArray[np.int64]:
        if self._share == 1:
            return part
        generator = np.random.default_rng([self._seed, step, agent, which, number])
        return generator.choice(part, len(self._drawn(part)), replace=False)
