"""Where a run's model lies, and ``graftwork.json``, which says what it is. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from graftwork import GraftworkError
from graftwork_trainer.files import not_readable
from graftwork_trainer.plain_json import read_json, to_json

FOLDER, MANIFEST, RECIPE, CARD = "model", "graftwork.json", "graftwork-recipe.toml", "README.md"
PARTIAL, REPLACED = f"{FOLDER}.partial", f"{FOLDER}.replaced"


@dataclass(frozen=True)
class Manifest:
    """What is in a model's folder.

    Args:
        files: ``sha256`` and ``bytes`` of every other file, by its path in the folder.
        assets: those of the files that the task wrote.
        format: ``transformers``, ``timm`` or ``safetensors``; None where there are assets alone.
        weights: name of the checkpoint in the run that has the same weights, ``best-000300``.
        step: of those weights.
        metrics: of their evaluation.
    """

    files: Mapping[str, Mapping[str, Any]]
    assets: tuple[str, ...]
    format: str | None = None
    weights: str | None = None
    step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As it is written."""
        return to_json(asdict(self)).encode()

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read that of a folder.

        Raises:
            GraftworkError: there is none, or it is damaged.
        """
        path = folder / MANIFEST
        try:
            found = read_json(path)
        except FileNotFoundError:
            raise GraftworkError(f"{folder} holds no model: it has no {MANIFEST}") from None
        except OSError as error:
            raise not_readable(path, error) from error
        try:
            read = cls(**{**found, "assets": tuple(map(str, found["assets"]))})
        except (TypeError, KeyError) as error:
            raise GraftworkError(f"{path}: says nothing of a model: {error!r}") from error
        if (wrong := read._wrong()) is not None:
            raise GraftworkError(f"{path}: {wrong!r} is not what it is in such a file; it is damaged")
        return read

    def _wrong(self) -> str | None:
        """The first part that is not of its kind."""
        of_files = isinstance(self.files, Mapping) and all(
            isinstance(facts, Mapping)
            and isinstance(facts.get("sha256"), str)
            and type(facts.get("bytes")) is int
            for facts in self.files.values()
        )
        right = {
            "files": of_files,
            "assets": of_files and set(self.assets) <= set(self.files),
            "format": self.format is None or isinstance(self.format, str),
            "weights": self.weights is None or isinstance(self.weights, str),
            "step": type(self.step) is int,
            "metrics": isinstance(self.metrics, Mapping),
        }
        return next((name for name, is_right in right.items() if not is_right), None)


def model_folder(run: Path) -> Path:
    """The folder of a run's model, which may not be there; one that was being replaced, where that was cut
    short."""
    folder, before = run / FOLDER, run / REPLACED
    return before if before.is_dir() and not folder.exists() else folder


def manifest_of(run: Path) -> Manifest | None:
    """What a run's model is; None where it has none yet, or where that cannot be read."""
    with suppress(GraftworkError):
        return Manifest.read(model_folder(run))
    return None
