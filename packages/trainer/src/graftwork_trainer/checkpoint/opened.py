"""The one function that opens a checkpoint, and what it gives: values and tensors, checked before they are
taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_trainer.checkpoint.encoding import decode, dtype_called
from graftwork_trainer.checkpoint.geometry import Piece
from graftwork_trainer.checkpoint.index import KINDS, NAME, Index, folder_name
from graftwork_trainer.checkpoint.ranks import rank_and_size, together
from graftwork_trainer.checkpoint.shard_file import check_shard, digest_of, read_piece
from graftwork_trainer.files import read_file


class DamagedCheckpointError(GraftworkError):
    """A checkpoint does not hold what was saved."""


@dataclass(frozen=True)
class Opened:
    """A checkpoint whose files are those that were written.

    Args:
        path: its folder.
        index: what it holds.
    """

    path: Path
    index: Index

    @property
    def step(self) -> int:
        """Steps taken when it was written."""
        return self.index.step

    @property
    def processes(self) -> int:
        """How many wrote it."""
        return self.index.processes

    def part(self, *names: str) -> Any:
        """Some of the values, by their names at the top, as this process saved them.

        Tensors are whole and on the CPU. A process that was not there gets what rank 0 had.

        Raises:
            DamagedCheckpointError: there is no such value, or it is none.
        """
        rank, _ = rank_and_size()
        own = rank if rank < self.processes else 0
        if missing := [name for name in names if name not in self.index.values]:
            raise DamagedCheckpointError(f"checkpoint {self.path}: {NAME} has no {missing[0]!r} in it")
        return self.decoded({name: self.index.values[name] for name in names}, own)

    def decoded(self, encoded: Any, rank: int = 0) -> Any:
        """A part of the index's values, with its tensors.

        Raises:
            DamagedCheckpointError: it is no part of what a checkpoint holds.
        """
        try:
            return decode(encoded, self.tensor, rank)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError) as error:
            raise DamagedCheckpointError(
                f"checkpoint {self.path}: {NAME} holds a value that cannot be read: {error}"
            ) from error

    def tensor(self, name: str, piece: Piece | None = None) -> Tensor:
        """Read a tensor.

        Args:
            name: of the tensor.
            piece: what of it; None for all.
        """
        stored = self.index.tensors[name]
        dtype = dtype_called(stored.dtype)
        wanted = Piece.whole(stored.shape) if piece is None else piece
        result = torch.empty(wanted.extent, dtype=dtype)
        for file, there in stored.pieces.items():
            common = wanted.overlap(there)
            if common is not None or (not stored.shape and there.numel):
                found = read_piece(self.path / file, name, there, common or there, dtype)
                result[(common or there).within(wanted)] = found
        return result


def open_checkpoint(path: Path) -> Opened:
    """Open a checkpoint: its index, the digest of every file, then what is in it; no code in it is run.

    Every process of the default group calls it, and each verifies its share of the files.

    Args:
        path: ``RUN/checkpoints/step-000500``.

    Raises:
        DamagedCheckpointError: a file is missing or is not what was written.
    """
    rank, size = rank_and_size()

    def verified() -> Index:
        try:
            index = Index.from_bytes(read_file(path / NAME))
        except FileNotFoundError:
            raise GraftworkError(f"{NAME} is missing") from None
        except ValueError as error:
            raise GraftworkError(str(error)) from error
        named = [folder_name(index.step, kind) for kind in KINDS if path.name.startswith(kind)]
        if named and path.name.partition(".")[0] not in named:
            raise GraftworkError(f"is that of step {index.step}, and its folder was renamed")
        for name, facts in list(index.files.items())[rank::size]:
            _verify(path / name, facts["sha256"], facts["bytes"])
            check_shard(path / name, index.pieces_in(name))
        return index

    try:
        return Opened(path, together(verified)[rank])
    except GraftworkError as error:
        raise DamagedCheckpointError(f"checkpoint {path}: {error}") from error


def _verify(file: Path, sha256: str, size: int) -> None:
    if not file.is_file():
        raise GraftworkError(f"{file.name} is missing")
    found = file.stat().st_size
    if found != size:
        raise GraftworkError(f"{file.name} has {found} bytes and was written with {size}")
    if digest_of(file) != sha256:
        raise GraftworkError(f"{file.name} is damaged: its SHA-256 is not the one that it was written with")
