"""What weights can be taken from, wherever they lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graftwork_trainer.checkpoint.geometry import Piece
from graftwork_trainer.model_folder.manifest import model_folder


@dataclass(frozen=True, slots=True)
class Found:
    """A tensor that can be taken.

    Args:
        shape: of all of it.
        dtype: of its elements.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')}{list(self.shape)}"


class Source(ABC):
    """Tensors by name, and what is known of them.

    Attributes:
        told: what it is, for messages.
        tensors: that can be taken.
        data: facts of the data that they were trained with; empty where nothing is known of it.
    """

    told: str
    tensors: Mapping[str, Found]
    data: Mapping[str, Any] = {}

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What tells these weights from others, as plain data."""

    @abstractmethod
    def read(self, name: str, piece: Piece | None = None) -> Tensor:
        """Read a tensor, or a piece of it, on the CPU."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text says that weights lie.

    Args:
        text: as it was given.
        path: of the run, the folder or the file.
        which: ``newest``, ``best`` or a step, of a run; empty for files.
    """

    text: str
    path: Path
    which: str = ""

    @property
    def assets(self) -> Path | None:
        """The folder with what the weights are used with; None where there is none."""
        folder = model_folder(self.path) if self.which else self.path
        return folder if folder.is_dir() else None
