"""``graftwork export``: a copy of ``RUN/model/``, or the same made of other weights of the run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from graftwork import GraftworkError
from graftwork_trainer.checkpoint.shard_file import digest_of
from graftwork_trainer.files import check_given
from graftwork_trainer.model_folder.card import Card
from graftwork_trainer.model_folder.keeping import write_model
from graftwork_trainer.model_folder.manifest import MANIFEST, Manifest, model_folder
from graftwork_trainer.model_folder.tensors import whole_tensors
from graftwork_trainer.own_code import environment_of
from graftwork_trainer.usage.named import NamedRun, named_run
from graftwork_trainer.usage.trained import open_trained, settings_of


def export(text: str, folder: Path, layout: str | None = None) -> Manifest:
    """Write the model of a run to a folder.

    Args:
        text: ``RUN``, ``RUN:best`` or ``RUN:600``.
        folder: that does not exist, or is empty.
        layout: that it must be in; None for that of the model's library.

    Returns:
        What was written.

    Raises:
        GraftworkError: the run has no model yet, it is damaged, it cannot be in that layout, or something
            lies in the folder.
    """
    named = named_run(text)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GraftworkError(f"{folder} holds something already; export to a folder that does not exist")
    partial = folder.resolve().with_name(f"{folder.resolve().name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if _is_written(named):
            _copy(named, partial)
        else:
            _write(named, partial)
        written = Manifest.read(partial)
        # Every layout has its tensors in safetensors files.
        if layout not in (None, "safetensors", written.format):
            made = "none of that library's" if written.format == "safetensors" else f"one of {written.format}"
            raise GraftworkError(f"{text} cannot be exported in the layout of {layout}: its model is {made}")
        if folder.exists():
            folder.rmdir()
        partial.rename(folder.resolve())
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return written


def _is_written(named: NamedRun) -> bool:
    """Whether ``RUN/model/`` has the weights that are asked for.

    Raises:
        GraftworkError: there is no model yet.
    """
    manifest = Manifest.read(model_folder(named.run))
    if named.which:
        return manifest.weights is not None and manifest.weights in _names(named)
    if manifest.format is None:
        raise GraftworkError(
            f"{named.text} has no model yet: one is written at the first evaluation and at the end; "
            f"`graftwork export {named.run}:newest` makes one of the newest checkpoint"
        )
    return True


def _names(named: NamedRun) -> list[str]:
    """The checkpoints that are asked for, by name."""
    if named.which == "best":
        return [path.name for path in (named.run / "checkpoints").glob("best-*")]
    return [f"step-{int(named.which):06d}"] if named.which.isdecimal() else []


def _copy(named: NamedRun, to: Path) -> None:
    source = model_folder(named.run)
    for name, facts in Manifest.read(source).files.items():
        if not (source / name).resolve().is_relative_to(source.resolve()):
            raise GraftworkError(f"{source / MANIFEST} names {name!r}, which is no file of its folder")
        if not os.path.lexists(source / name):
            raise GraftworkError(f"{source / name} is missing, which {MANIFEST} names")
        check_given(source / name)
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, to / name)
        if digest_of(to / name) != facts["sha256"]:
            raise GraftworkError(
                f"{source / name} is damaged: its SHA-256 is not the one that it was written with; "
                f"`graftwork export {named.run}:newest` makes the model anew of a checkpoint"
            )
    shutil.copyfile(source / MANIFEST, to / MANIFEST)


def _write(named: NamedRun, to: Path) -> None:
    settings = settings_of(named, device="cpu")
    trained = open_trained(named, settings, elsewhere=False)
    environment = environment_of(named.run)
    why = f"these are its weights of step {trained.step}" + (", the best" if named.which == "best" else "")
    card = Card(named.run.resolve().name, settings.recipe, environment, trained.step, trained.metrics, why)
    write_model(to, named.run, trained.model, whole_tensors(trained.model), card, trained.weights)
