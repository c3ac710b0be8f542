"""``index.json``: what a checkpoint holds, in which files, and the digest of each; of itself too."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch

from graftwork_trainer.checkpoint.encoding import Encoded, dtype_called
from graftwork_trainer.checkpoint.geometry import Extent, Piece

FORMAT = 1
NAME = "index.json"
SHARD_NAME = "shard-{rank:05d}.safetensors"
Kind = Literal["step", "best", "last"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_SHARD = re.compile(r"shard-\d{5,}\.safetensors")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def folder_name(step: int, kind: Kind = "step") -> str:
    """Of the checkpoint of a step; of weights alone where the kind is another."""
    return f"{kind}-{step:06d}"


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of the checkpoint.

    Args:
        dtype: torch's name for it, without ``torch.``.
        shape: of the whole tensor.
        sharded: whether it was spread over processes.
        pieces: what of it lies in which file.
    """

    dtype: str
    shape: tuple[int, ...]
    sharded: bool
    pieces: Mapping[str, Piece]


@dataclass(frozen=True, slots=True)
class Index:
    """What a checkpoint holds.

    Args:
        step: steps taken.
        processes: that wrote it.
        files: ``sha256`` and ``bytes`` by name.
        tensors: by name.
        values: all else, encoded.
    """

    step: int
    processes: int
    files: Mapping[str, Mapping[str, Any]]
    tensors: Mapping[str, Stored]
    values: Mapping[str, Encoded]

    def to_bytes(self) -> bytes:
        """The file; every byte of it follows from what it says."""
        content = {"format": FORMAT, **asdict(self)}
        digest = hashlib.sha256(_canonical(content)).hexdigest()
        return _canonical({"sha256": digest, "content": content})

    def pieces_in(self, file: str) -> dict[str, tuple[Extent, torch.dtype]]:
        """The size of what lies in a file of each tensor, and the tensor's dtype."""
        return {
            name: (stored.pieces[file].extent, dtype_called(stored.dtype))
            for name, stored in self.tensors.items()
            if file in stored.pieces
        }

    @classmethod
    def from_bytes(cls, data: bytes) -> Index:
        """Read it.

        Raises:
            ValueError: it is not whole, or of another format; the message says which.
        """
        try:
            document = json.loads(data)
            content = document["content"]
            whole = _canonical(document) == data and document["sha256"] == _digest(content)
        except (ValueError, KeyError, TypeError, RecursionError):
            whole = False
        if not whole:
            raise ValueError(f"{NAME} is damaged: it does not match its own digest")
        if content["format"] != FORMAT:
            raise ValueError(f"{NAME} is of format {content['format']}, and this version reads {FORMAT}")
        try:
            index = cls(
                int(content["step"]),
                int(content["processes"]),
                content["files"],
                {name: _stored(entry) for name, entry in content["tensors"].items()},
                content["values"],
            )
            index._check()
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{NAME} is no index of a checkpoint: {error!r}") from error
        return index

    def _check(self) -> None:
        """Refuse names that lead out of the folder, and pieces that leave part of a tensor open."""
        if min(self.step, self.processes - 1) < 0 or not isinstance(self.values, dict):
            raise ValueError(f"{NAME} is no index of a checkpoint")
        for name, facts in self.files.items():
            if not _SHARD.fullmatch(name) or not _DIGEST.fullmatch(facts["sha256"]):
                raise ValueError(f"{NAME} names {name!r}, which is no file of a checkpoint")
        for name, stored in self.tensors.items():
            whole = Piece.whole(stored.shape)
            inside = all(
                file in self.files and (not piece.numel or piece.overlap(whole) == piece)
                for file, piece in stored.pieces.items()
            )
            if not inside or sum(piece.numel for piece in stored.pieces.values()) != whole.numel:
                raise ValueError(f"{NAME} does not say where all of {name!r} lies")


def _stored(entry: Mapping[str, Any]) -> Stored:
    pieces = {
        file: Piece(_sizes(piece["offset"]), _sizes(piece["extent"]))
        for file, piece in entry["pieces"].items()
    }
    dtype_called(entry["dtype"])
    return Stored(entry["dtype"], _sizes(entry["shape"]), bool(entry["sharded"]), pieces)


def _sizes(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(size) for size in shape)


def _digest(content: Any) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()


def _canonical(document: Any) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"
