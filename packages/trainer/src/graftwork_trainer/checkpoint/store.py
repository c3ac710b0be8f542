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
from graftwork_trainer.checkpoint.best import BestWeights
from graftwork_trainer.checkpoint.encoding import Encoded, encode
from graftwork_trainer.checkpoint.geometry import Extent, local_piece
from graftwork_trainer.checkpoint.index import folder_name
from graftwork_trainer.checkpoint.opened import DamagedCheckpointError, Opened, open_checkpoint
from graftwork_trainer.checkpoint.ranks import gathered
from graftwork_trainer.checkpoint.training_state import TrainingState
from graftwork_trainer.checkpoint.writing import REPLACED, remove_whole, write_checkpoint
from graftwork_trainer.finite import first_nan

_NAME = re.compile(r"step-(\d{6,})")


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: ``RUN/checkpoints``; made when first needed.
        keep: how many to keep, the newest.
    """

    def __init__(self, directory: Path, keep: int = 2) -> None:
        self.directory = directory
        self.keep = keep
        self.best: BestWeights | None = BestWeights(directory)
        """Beside them; None where no process alone has the weights that are evaluated."""
        self.last = BestWeights(directory, "last")
        """Those that a finished run ended with, where its optimizer trains at others."""

    def steps(self) -> list[int]:
        """The steps of all whole checkpoints, oldest first.

        Raises:
            GraftworkError: something else has the place of their folder.
        """
        if not self.directory.is_dir():
            if self.directory.exists():
                raise GraftworkError(f"{self.directory} is no folder, and checkpoints need one of this name")
            return []
        matches = [_NAME.fullmatch(path.name.removesuffix(REPLACED)) for path in self.directory.iterdir()]
        return sorted({int(match[1]) for match in matches if match})

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        path = self.directory / folder_name(step)
        before = path.with_name(path.name + REPLACED)
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

        def capture(tensors: dict[str, Tensor]) -> Encoded:
            encoded = training.capture(tensors)
            _refuse_odd_state({name: t for name, t in tensors.items() if name.startswith("optimizer/")})
            return encoded | encode(dict(values or {}), "values", tensors)

        try:
            write_checkpoint(final, step, training.procedure.model, capture, self._prune)
        except GraftworkError as error:
            raise type(error)(f"checkpoint {final}: not written: {error}; {self.kept()}") from error
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
            remove_whole(self.path(step))
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
