"""What ``RUN`` and ``RUN:best`` name on the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from graftwork import GraftworkError
from graftwork_trainer.checkpoint import Checkpoints
from graftwork_trainer.folders import given_path
from graftwork_trainer.model_folder.manifest import manifest_of
from graftwork_trainer.weights.places import last_stage
from graftwork_trainer.weights.source import Place

_WHICH = re.compile(r"newest|best|\d+")
_CHECKPOINT = re.compile(r"(step|best|last)-(\d{6,})")


@dataclass(frozen=True, slots=True)
class NamedRun:
    """A training and which of its weights.

    Args:
        text: as it was given.
        run: directory of the training, that of its last stage where there are several.
        root: what the text names, stages and all.
        which: ``best``, ``newest`` or a step; empty for those that the run's result stands for.
    """

    text: str
    run: Path
    root: Path
    which: str

    @property
    def place(self) -> Place:
        """Where the weights lie.

        Those that the run's model is written with, where nothing else is asked for: of its best evaluation
        where it stopped early or has not ended, else the last.
        """
        return Place(self.text, self.run, self.which or self._of_model())

    def _of_model(self) -> str:
        manifest = manifest_of(self.run)
        found = _CHECKPOINT.fullmatch((manifest and manifest.weights) or "")
        if found is None or not Checkpoints(self.run / "checkpoints").directory.joinpath(found[0]).is_dir():
            return "newest"
        return str(int(found[2])) if found[1] == "step" else found[1]


def named_run(text: str) -> NamedRun:
    """Find the run that a text names.

    Raises:
        GraftworkError: there is none.
    """
    path, which = given_path(text, "run"), ""
    name, _, end = text.rpartition(":")
    if not path.exists() and name and _WHICH.fullmatch(end):
        path, which = given_path(name, "run"), end
    if not text or not (path / "recipe.toml").is_file():
        found = "it has no recipe.toml" if text and path.is_dir() else "there is no such directory"
        raise GraftworkError(f"{path} is no run: {found}; give RUN, RUN:best or RUN:600")
    return NamedRun(text, last_stage(path), path, which)
