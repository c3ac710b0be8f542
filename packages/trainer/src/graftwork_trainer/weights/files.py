"""The weights in safetensors files, as safetensors, transformers and timm write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from graftwork import GraftworkError
from graftwork_trainer.causes import cause_of
from graftwork_trainer.checkpoint.geometry import Piece
from graftwork_trainer.checkpoint.shard_file import DTYPES, digest_of
from graftwork_trainer.files import check_given
from graftwork_trainer.plain_json import read_json
from graftwork_trainer.weights.places import not_read
from graftwork_trainer.weights.source import Found, Place, Source

_FILE, _INDEX = "model.safetensors", "model.safetensors.index.json"


def open_files(place: Place) -> Source:
    """Open a safetensors file, or those of a folder.

    Raises:
        GraftworkError: there are none, or one of them is not whole.
    """
    try:
        return FilesSource(_files(place.path), place.text)
    except OSError as error:
        raise GraftworkError(f"start_from {place.text}: {cause_of(error)}") from error
    except GraftworkError as error:
        raise GraftworkError(f"start_from {place.text}: {error}") from error


class FilesSource(Source):
    """Tensors of some safetensors files.

    Args:
        files: that have them.
        told: what they are, for messages.

    Raises:
        GraftworkError: one of them is no whole safetensors file.
    """

    def __init__(self, files: list[Path], told: str) -> None:
        from safetensors import SafetensorError, safe_open

        self.told = told
        self._file_of: dict[str, Path] = {}
        self.tensors: dict[str, Found] = {}
        for path in files:
            check_given(path)
            try:
                with safe_open(path, framework="pt") as file:
                    for name in file.keys():  # noqa: SIM118  (it is no mapping)
                        tensor = file.get_slice(name)
                        self._file_of[name] = path
                        self.tensors[name] = Found(tuple(tensor.get_shape()), DTYPES[tensor.get_dtype()])
            except (SafetensorError, KeyError) as error:
                raise GraftworkError(f"{path.name} cannot be read as safetensors: {error}") from error

    def identity(self) -> dict[str, Any]:
        """The digest of every file."""
        return {"files": {str(path): digest_of(path) for path in sorted(set(self._file_of.values()))}}

    def read(self, name: str, piece: Piece | None = None) -> Tensor:
        """Read a tensor, or a piece of it."""
        from safetensors import safe_open

        with safe_open(self._file_of[name], framework="pt") as file:
            whole = Piece.whole(self.tensors[name].shape)
            if piece is None or piece == whole:
                tensor: Tensor = file.get_tensor(name)
                return tensor
            part: Tensor = file.get_slice(name)[piece.within(whole)]
            return part


def _files(path: Path) -> list[Path]:
    """The files of a folder, or the one that was named."""
    if path.is_file():
        return [path]
    if (path / _INDEX).exists():
        return _shards(path)
    if (path / _FILE).exists():
        return [path / _FILE]
    others = sorted(file for file in path.iterdir() if file.suffix == ".safetensors")
    if others:
        raise GraftworkError(f"it has no {_FILE}; name one of its files: {', '.join(map(str, others))}")
    pickles = sorted(file for file in path.iterdir() if "is a pickle" in not_read(file))
    raise GraftworkError(f"it has no {_FILE}" + (f", and {not_read(pickles[0])}" if pickles else ""))


def _shards(folder: Path) -> list[Path]:
    try:
        names = set(read_json(folder / _INDEX)["weight_map"].values())
    except (KeyError, TypeError, AttributeError) as error:
        raise GraftworkError(f"{_INDEX} has no weight_map from tensors to files: {error!r}") from error
    for name in sorted(names, key=str):
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise GraftworkError(f"{_INDEX} names {name!r}, which is no .safetensors file of the folder")
        if not (folder / name).is_file():
            raise GraftworkError(f"{name} is missing, which {_INDEX} names")
    return [folder / name for name in sorted(names)]
