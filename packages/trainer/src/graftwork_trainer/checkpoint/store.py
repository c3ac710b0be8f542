"""The checkpoints of a run: written whole or not at all, the newest few kept."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from graftwork import GraftworkError
from graftwork_trainer.checkpoint.encoding import encode, merge
from graftwork_trainer.checkpoint.geometry import Extent, Piece, is_sharded, local_piece
from graftwork_trainer.checkpoint.index import NAME, SHARD_NAME, Index, Stored, folder_name
from graftwork_trainer.checkpoint.opened import DamagedCheckpointError, Opened, open_checkpoint
from graftwork_trainer.checkpoint.ranks import RefusedError, gathered, rank_and_size, together
from graftwork_trainer.checkpoint.shard_file import check_storable, write_shard
from graftwork_trainer.checkpoint.training_state import TrainingState
from graftwork_trainer.durable import sync_folder, write_durably
from graftwork_trainer.finite import first_nan, first_not_finite

_NAME = re.compile(r"step-(\d{6,})")
_REPLACED = ".replaced"


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: ``RUN/checkpoints``; made when first needed.
        keep: how many to keep, the newest.
    """

    def __init__(self, directory: Path, keep: int = 2) -> None:
        self.directory = directory
        self.keep = keep

    def steps(self) -> list[int]:
        """The steps of all whole checkpoints, oldest first.

        Raises:
            GraftworkError: something else has the place of their folder.
        """
        if not self.directory.is_dir():
            if self.directory.exists():
                raise GraftworkError(f"{self.directory} is no folder, and checkpoints need one of this name")
            return []
        matches = [_NAME.fullmatch(path.name.removesuffix(_REPLACED)) for path in self.directory.iterdir()]
        return sorted({int(match[1]) for match in matches if match})

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        path = self.directory / folder_name(step)
        before = path.with_name(path.name + _REPLACED)
        return before if before.is_dir() and not path.exists() else path

    def save(self, step: int, training: TrainingState, values: Mapping[str, Any] | None = None) -> Path:
        """Write a checkpoint, then remove those beyond ``keep``. Every rank calls it.

        Args:
            step: steps taken so far.
            training: what to save.
            values: plain data to get back besides, the same on every rank; names at the top other than
                the training's own.

        Raises:
            RefusedError: it could not be written (a full disk); earlier checkpoints are untouched.
            GraftworkError: a weight is not finite, or something is no data; likewise.
        """
        final = self.directory / folder_name(step)
        partial = final.with_name(final.name + ".partial")
        rank, size = rank_and_size()
        tensors: dict[str, Tensor] = {}

        def capture() -> tuple[Any, dict[str, tuple[Stored, Piece]]]:
            if rank == 0:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            if (name := first_not_finite(training.procedure.model)) is not None:
                raise GraftworkError(f"the weights of {name!r} are not finite")
            encoded = training.capture(tensors)
            _refuse_odd_state({name: t for name, t in tensors.items() if name.startswith("optimizer/")})
            return encoded | encode(dict(values or {}), "values", tensors), _described(tensors)

        def write() -> dict[str, Any] | None:
            own = {name: local_piece(name, tensors[name])[1] for name in _share(descriptions, rank)}
            return write_shard(partial / SHARD_NAME.format(rank=rank), own) if own else None

        def conclude() -> None:
            if rank == 0:
                index = Index(step, size, _files(facts), _stored(descriptions), merge(dict(enumerate(trees))))
                write_durably(partial / NAME, index.to_bytes())
                _put_in_place(partial, final)
                self._prune()

        try:
            outcomes = together(capture)
            trees = [tree for tree, _ in outcomes]
            descriptions = [described for _, described in outcomes]
            facts = together(write)
            together(conclude)
        except GraftworkError as error:
            if rank == 0:
                shutil.rmtree(partial, ignore_errors=True)
            told = f"checkpoint {final}: not written: {error}; {self.kept()}"
            raise (RefusedError if isinstance(error, RefusedError) else GraftworkError)(told) from error
        return final

    def newest(self) -> Opened | None:
        """Open the newest checkpoint; None where there is none.

        Raises:
            DamagedCheckpointError: it is not what was written; the message says how to go back.
        """
        steps = gathered(self.steps())[0]
        if not steps:
            return None
        try:
            return open_checkpoint(self.path(steps[-1]))
        except DamagedCheckpointError as error:
            back = (
                f"remove that folder to go on from step {steps[-2]}"
                if len(steps) > 1
                else "there is no earlier one: train anew, or bring back a copy of that folder"
            )
            raise DamagedCheckpointError(f"{error}; {back}") from error

    def kept(self) -> str:
        """What there is to go back to, as a sentence."""
        steps: list[int] = []
        with suppress(GraftworkError):  # without a folder there is none, which is told by others
            steps = self.steps()
        return f"the checkpoint of step {steps[-1]} is whole" if steps else "there is no earlier one"

    def _prune(self) -> None:
        for step in self.steps()[: -self.keep]:
            # Renamed first, so that a kill half-way through the removal leaves no half checkpoint.
            path = self.path(step)
            doomed = path.rename(path.with_name(path.name + ".partial"))
            shutil.rmtree(doomed, ignore_errors=True)
        for leftover in self.directory.glob("*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)


def _refuse_odd_state(state: Mapping[str, Tensor]) -> None:
    """Refuse optimizer state that would not come back, or with which training ends.

    Raises:
        GraftworkError: a tensor stands in it under two names, which would be two from then on, or something
            in it is not a number.
    """
    places: dict[tuple[int, Extent], str] = {}
    for name, tensor in state.items():
        _, local = local_piece(name, tensor)
        place = (local.data_ptr(), tuple(local.shape))
        if local.numel() and place in places:
            raise GraftworkError(
                f"{places[place]} and {name} are one tensor, which a checkpoint would make two: keep it "
                "under one name"
            )
        places[place] = name
    if (name_of_nan := first_nan(state)) is not None:
        raise GraftworkError(f"{name_of_nan} holds what is not a number")


def _described(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Stored, Piece]]:
    """What of which tensors a process has."""
    described = {}
    for name, tensor in tensors.items():
        check_storable(name, tensor)
        piece, _ = local_piece(name, tensor)
        dtype = str(tensor.dtype).removeprefix("torch.")
        described[name] = (Stored(dtype, tuple(tensor.shape), is_sharded(tensor), {}), piece)
    return described


def _share(descriptions: list[dict[str, tuple[Stored, Piece]]], rank: int) -> list[str]:
    """The tensors of which a rank writes its piece: none that a lower rank has, too.

    Raises:
        GraftworkError: ranks have different tensors under one name.
    """
    mine = []
    for name, (stored, piece) in descriptions[rank].items():
        others = [described[name] for described in descriptions[:rank] if name in described]
        if any(other != stored for other, _ in others):
            raise GraftworkError(f"{name} differs between processes in shape, dtype or the way it is spread")
        if piece not in [theirs for _, theirs in others] and (piece.numel or not others):
            mine.append(name)
    return mine


def _stored(descriptions: list[dict[str, tuple[Stored, Piece]]]) -> dict[str, Stored]:
    pieces: dict[str, dict[str, Piece]] = {}
    known: dict[str, Stored] = {}
    for rank, described in enumerate(descriptions):
        for name in _share(descriptions, rank):
            known[name] = described[name][0]
            pieces.setdefault(name, {})[SHARD_NAME.format(rank=rank)] = described[name][1]
    return {
        name: Stored(stored.dtype, stored.shape, stored.sharded, pieces[name])
        for name, stored in known.items()
    }


def _files(facts: list[dict[str, Any] | None]) -> dict[str, dict[str, Any]]:
    return {SHARD_NAME.format(rank=rank): fact for rank, fact in enumerate(facts) if fact is not None}


def _put_in_place(partial: Path, final: Path) -> None:
    """Rename, so that at every moment one of the two is whole under a name that is read."""
    replaced = final.with_name(final.name + _REPLACED)
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    partial.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)
