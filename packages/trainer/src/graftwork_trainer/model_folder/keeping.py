"""Writing ``RUN/model/``: whole, or as it was before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from graftwork_trainer.checkpoint.shard_file import digest_of
from graftwork_trainer.durable import sync_folder
from graftwork_trainer.files import check_given
from graftwork_trainer.model_folder.card import Card
from graftwork_trainer.model_folder.layouts import write_layout
from graftwork_trainer.model_folder.manifest import (
    CARD,
    FOLDER,
    MANIFEST,
    PARTIAL,
    RECIPE,
    REPLACED,
    Manifest,
    manifest_of,
    model_folder,
)
from graftwork_trainer.model_folder.tensors import whole_tensors


def keep_assets(run: Path, write: Callable[[Path], None]) -> None:
    """Write a folder that has a task's assets alone, in the place of any other.

    Args:
        run: its directory.
        write: puts them in a folder.

    Raises:
        OSError: it cannot be written.
    """
    for left in (FOLDER, REPLACED):
        shutil.rmtree(run / left, ignore_errors=True)
    partial = _emptied(run / PARTIAL)
    write(partial)
    files = _described(partial)
    _write_manifest(partial, Manifest(files, tuple(files)))
    _put_in_place(run, partial)


def keep_model(run: Path, model: nn.Module, card: Card, weights: str, *, main: bool) -> None:
    """Write a model beside the assets of its task; every rank calls it where the model is spread over ranks.

    Args:
        run: its directory.
        model: not wrapped, with the weights to write.
        card: what there is to tell of them.
        weights: name of the checkpoint that has the same.
        main: whether this process writes.

    Raises:
        OSError: it cannot be written; what was there is untouched.
    """
    tensors = whole_tensors(model)
    if main:
        partial = _emptied(run / PARTIAL)
        write_model(partial, run, model, tensors, card, weights)
        _put_in_place(run, partial)


def write_model(
    folder: Path, run: Path, model: nn.Module, tensors: Mapping[str, Tensor], card: Card, weights: str
) -> None:
    """Write a model beside the assets of its run into an empty folder.

    Args:
        folder: to write into.
        run: directory of the run.
        model: not wrapped.
        tensors: of it, whole.
        card: what there is to tell of them.
        weights: name of the checkpoint that has the same.

    Raises:
        GraftworkError: an asset of the run is gone.
        OSError: it cannot be written.
    """
    before = manifest_of(run)
    assets = () if before is None else before.assets
    for name in assets:
        check_given(model_folder(run) / name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model_folder(run) / name, folder / name)
    layout = write_layout(model, tensors, folder)
    (folder / RECIPE).write_text(card.recipe.to_toml(), "utf-8")
    (folder / CARD).write_text(card.text(layout, model, folder), "utf-8")
    _write_manifest(
        folder, Manifest(_described(folder), assets, layout, weights, card.step, dict(card.metrics))
    )


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _described(folder: Path) -> dict[str, dict[str, Any]]:
    """Bring every file of a folder to the disk, and take its digest."""
    described = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
            name = path.relative_to(folder).as_posix()
            described[name] = {"sha256": digest_of(path), "bytes": path.stat().st_size}
    return described


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    with (folder / MANIFEST).open("wb") as file:
        file.write(manifest.to_bytes())
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(run: Path, partial: Path) -> None:
    """Rename, so that at every moment one of the two is whole under a name that is read."""
    folder, replaced = run / FOLDER, run / REPLACED
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
    partial.rename(folder)
    sync_folder(run)
    shutil.rmtree(replaced, ignore_errors=True)
