"""Seeding, and the generators' states as data that a checkpoint can hold."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def make_deterministic() -> None:
    """Have torch use deterministic algorithms, warning where it knows none."""
    # cuBLAS reads this when it starts, so it must be set before the first CUDA matrix product.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


@dataclass(frozen=True, slots=True)
class RandomState:
    """States of the global generators: torch's, on the CPU and on the device where that is another, NumPy's
    and Python's."""

    cpu: torch.Tensor
    cuda: torch.Tensor | None
    numpy: dict[str, Any]
    python: tuple[Any, ...]

    @classmethod
    def capture(cls, device: torch.device) -> RandomState:
        """Read the states now."""
        return cls(
            torch.get_rng_state(),
            torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            np.random.get_state(legacy=False),
            random.getstate(),
        )

    def restore(self) -> None:
        """Go back to them."""
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
        np.random.set_state(self.numpy)
        random.setstate(self.python)

    def is_like(self, other: RandomState) -> bool:
        """Whether nothing was drawn from one to the other."""
        mine, others = self.numpy["state"], other.numpy["state"]
        return (
            torch.equal(self.cpu, other.cpu)
            and (self.cuda is None or other.cuda is None or torch.equal(self.cuda, other.cuda))
            and np.array_equal(mine["key"], others["key"])
            and mine["pos"] == others["pos"]
            and self.python == other.python
        )

    def state_dict(self) -> dict[str, Any]:
        """The states as tensors and plain numbers, for a checkpoint."""
        version, words, normal = self.python
        twister = self.numpy["state"]
        return {
            "cpu": self.cpu,
            "cuda": self.cuda,
            "numpy": {
                "words": torch.from_numpy(twister["key"].astype(np.int64)),
                "position": int(twister["pos"]),
                "has_normal": int(self.numpy["has_gauss"]),
                "normal": float(self.numpy["gauss"]),
            },
            "python": {"version": version, "words": torch.tensor(words), "normal": normal},
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> RandomState:
        """Return what :meth:`state_dict` was made of."""
        numpy, python = state["numpy"], state["python"]
        return cls(
            state["cpu"],
            state["cuda"],
            {
                "bit_generator": "MT19937",
                "state": {"key": numpy["words"].numpy().astype(np.uint32), "pos": numpy["position"]},
                "has_gauss": numpy["has_normal"],
                "gauss": numpy["normal"],
            },
            (python["version"], tuple(python["words"].tolist()), python["normal"]),
        )
