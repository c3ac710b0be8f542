"""Writing a checkpoint by all ranks together: whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_trainer.checkpoint.encoding import Encoded, merge
from graftwork_trainer.checkpoint.geometry import Piece, is_sharded, local_piece
from graftwork_trainer.checkpoint.index import NAME, SHARD_NAME, Index, Stored
from graftwork_trainer.checkpoint.ranks import rank_and_size, together
from graftwork_trainer.checkpoint.shard_file import check_storable, write_shard
from graftwork_trainer.durable import sync_folder, write_durably
from graftwork_trainer.finite import first_not_finite

REPLACED = ".replaced"


def write_checkpoint(
    final: Path,
    step: int,
    model: nn.Module,
    capture: Callable[[dict[str, Tensor]], Encoded],
    then: Callable[[], None],
) -> None:
    """Write a checkpoint; every rank calls it.

    Args:
        final: its folder; one that is there is replaced.
        step: steps taken so far.
        model: whose weights must be finite.
        capture: gives the values of this process, and puts its tensors in what it is given.
        then: done by rank 0 when the checkpoint is whole.

    Raises:
        RefusedError: it could not be written (a full disk).
        GraftworkError: a weight is not finite, or something is no data.
    """
    partial = final.with_name(final.name + ".partial")
    rank, size = rank_and_size()
    tensors: dict[str, Tensor] = {}

    def captured() -> tuple[Any, dict[str, tuple[Stored, Piece]]]:
        if rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        if (name := first_not_finite(model)) is not None:
            raise GraftworkError(f"the weights of {name!r} are not finite")
        return capture(tensors), _described(tensors)

    def write() -> dict[str, Any] | None:
        own = {name: local_piece(name, tensors[name])[1] for name in _share(descriptions, rank)}
        return write_shard(partial / SHARD_NAME.format(rank=rank), own) if own else None

    def conclude() -> None:
        if rank == 0:
            index = Index(step, size, _files(facts), _stored(descriptions), merge(dict(enumerate(trees))))
            write_durably(partial / NAME, index.to_bytes())
            _put_in_place(partial, final)
            then()

    try:
        outcomes = together(captured)
        trees = [tree for tree, _ in outcomes]
        descriptions = [described for _, described in outcomes]
        facts = together(write)
        together(conclude)
    except GraftworkError:
        if rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
        raise


def remove_whole(path: Path) -> None:
    """Remove a checkpoint: renamed first, so that a kill half-way through leaves no half of it."""
    doomed = path.with_name(path.name + ".partial")
    shutil.rmtree(doomed, ignore_errors=True)
    shutil.rmtree(path.rename(doomed), ignore_errors=True)


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
    replaced = final.with_name(final.name + REPLACED)
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    partial.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)
