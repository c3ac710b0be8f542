"""What ``trainer.start_from`` names."""

from __future__ import annotations

import re
from pathlib import Path

from graftwork import GraftworkError
from graftwork_trainer.checkpoint import Checkpoints
from graftwork_trainer.stage_folders import STAGES
from graftwork_trainer.weights.source import Place

_WHICH = re.compile(r"newest|best|\d+")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".tar")


def find_place(text: str) -> Place:
    """Find out what a text names; only that it is there is looked at.

    Args:
        text: a run, ``RUN:best``, ``RUN:600``, a ``.safetensors`` file, or a folder of weights.

    Raises:
        GraftworkError: it is none of these.
    """
    path, which = Path(text).expanduser(), ""
    name, _, end = text.rpartition(":")
    if not path.exists() and name and _WHICH.fullmatch(end):
        path, which = Path(name).expanduser(), end
    if text and (path / "recipe.toml").is_file():
        return Place(text, last_stage(path), which or "newest")
    if which:
        raise GraftworkError(f"start_from {text}: {path} is no run, which {':' + which!r} would be of")
    if text and path.is_dir():
        return Place(text, path)
    if path.is_file() and path.suffix == ".safetensors":
        return Place(text, path)
    if path.is_file():
        raise GraftworkError(f"start_from {text}: {not_read(path)}")
    raise GraftworkError(
        f"start_from {text!r}: there is no such run, .safetensors file or folder with model.safetensors; "
        "give a path of one (RUN, RUN:best, RUN:600), names of a hub are not looked up"
    )


def not_read(file: Path) -> str:
    """Why a file is not read for weights."""
    if file.suffix in _PICKLES:
        return (
            f"{file.name} is a pickle, which can run code when it is read; where you trust it, load it with "
            "torch and write it with safetensors.torch.save_file"
        )
    return f"{file.name} is no .safetensors file"


def last_stage(run: Path) -> Path:
    """The run itself, or, of one of several stages, the last stage that has a checkpoint."""
    stages = [folder for folder in (run / STAGES).glob("*") if (folder / "recipe.toml").is_file()]
    saved = [folder for folder in stages if Checkpoints(folder / "checkpoints").steps()]
    return max(saved or stages, key=_number, default=run)


def _number(folder: Path) -> int:
    digits = folder.name.partition("-")[0]
    return int(digits) if digits.isdecimal() else 0
