"""The weights of the best evaluation so far, beside a run's checkpoints.

::

    RUN/checkpoints/best-000300/     index.json and shards, of the model alone
    RUN/checkpoints/last-000600/     likewise, of the last evaluation, where an optimizer trains at others

Those before them stay until a checkpoint knows of the new ones: a run that is killed in between goes on from
that checkpoint, to which the earlier ones are the best.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_trainer.checkpoint.encoding import Encoded, encode
from graftwork_trainer.checkpoint.index import Kind, folder_name
from graftwork_trainer.checkpoint.model_state import model_state
from graftwork_trainer.checkpoint.opened import Opened, open_checkpoint
from graftwork_trainer.checkpoint.ranks import gathered, rank_and_size
from graftwork_trainer.checkpoint.writing import remove_whole, write_checkpoint


class BestWeights:
    """The best weights of one run, or the last ones that were evaluated.

    Args:
        directory: ``RUN/checkpoints``; made when first needed.
        kind: which of the two.
    """

    def __init__(self, directory: Path, kind: Kind = "best") -> None:
        self.directory = directory
        self._kind: Kind = kind
        self._known = 0

    def path(self, step: int) -> Path:
        """Where those of a step lie."""
        return self.directory / folder_name(step, self._kind)

    def settle(self, step: int) -> None:
        """Let go of all others: a checkpoint knows of those of a step, or, with 0, of none."""
        self._known = step
        with suppress(OSError):  # they are in nobody's way
            self._remove_but({step})

    def save(self, step: int, model: nn.Module, values: Mapping[str, Any]) -> None:
        """Write the weights of a step; every rank calls it.

        Args:
            step: steps taken so far.
            model: as it was evaluated.
            values: plain data to keep with them, the same on every rank.

        Raises:
            RefusedError: they could not be written (a full disk); those before them are untouched.
            GraftworkError: a weight is not finite, or something is no data; likewise.
        """
        trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]

        def capture(tensors: dict[str, Tensor]) -> Encoded:
            own = {"model": model_state(model, tensors), "trained": list(trained)}
            return own | encode(dict(values), "values", tensors)

        path = self.path(step)
        try:
            write_checkpoint(path, step, model, capture, lambda: self._remove_but({step, self._known}))
        except GraftworkError as error:
            raise type(error)(f"{self._kind} weights {path}: not written: {error}") from error

    def open(self, step: int) -> Opened | None:
        """Open those of a step; None where they are gone. Every rank calls it.

        Raises:
            DamagedCheckpointError: they are not what was written.
        """
        path = self.path(step)
        return open_checkpoint(path) if all(gathered(path.is_dir())) else None

    def _remove_but(self, kept: Collection[int]) -> None:
        if rank_and_size()[0] == 0:
            names = {folder_name(step, self._kind) for step in kept}
            for path in self.directory.glob(f"{self._kind}-*"):
                if path.name not in names and path.suffix != ".partial":
                    remove_whole(path)
