"""One run of wandb for each run of Graftwork.

Every process imports this module, and the first alone needs wandb, whose import takes seconds: it is imported
where a run is opened.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import wandb

# A service that does not answer delays the beginning and the end of a training by no more; wandb's own wait
# at the end has no limit.
_PATIENCE_SECONDS = 60.0


class WandbTracker:
    """Metrics by step, and the recipe as configuration, in ``RUN/wandb``.

    Args:
        project: that the run belongs to.
        mode: offline keeps everything on the disk for ``wandb sync``; online sends it as it comes, too.
        run_name: its name, that of the run's directory if not given.
        group: of runs that wandb shows together.
        tags: to find the run by.

    >>> WandbTracker(project="protein", tags=["baseline"])
    WandbTracker('protein', 'offline')
    """

    def __init__(
        self,
        *,
        project: str = "graftwork",
        mode: Literal["offline", "online"] = "offline",
        run_name: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        self._project = project
        self._mode: Literal["offline", "online"] = mode
        self._run_name = run_name
        self._group = group
        self._tags = tuple(tags)
        self._run: wandb.Run | None = None

    def open(self, run: Path, step: int, recipe: Mapping[str, Any]) -> None:
        """Begin a run of wandb, or go on with the one that has the id kept in ``RUN/wandb/id``.

        Raises:
            OSError: the folder cannot be written; wandb itself would go elsewhere.
            RuntimeError: online, and no key is known.
            wandb.Error: it cannot begin.
        """
        if self._mode == "offline":
            # wandb 0.31 reports on its own working to its makers, offline too, unless told not to.
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        folder = run / "wandb"
        folder.mkdir(exist_ok=True)
        known = _id_in(folder / "id", new=step == 0)
        if self._mode == "online":
            _log_in()
        self._run = wandb.init(
            project=self._project,
            mode=self._mode,
            name=self._run_name or run.name,
            group=self._group,
            tags=self._tags,
            config=dict(recipe),
            dir=str(run),
            id=known,
            resume="allow",
            # Neither a run that the caller has open nor the output of the training is taken over.
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=_PATIENCE_SECONDS,
                finish_timeout=_PATIENCE_SECONDS,
                finish_timeout_raises=True,
            ),
        )

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step."""
        assert self._run is not None
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Bring everything to the disk, and to the service.

        Raises:
            TimeoutError: the service has not taken everything; ``wandb sync`` sends what is on the disk.
        """
        assert self._run is not None
        self._run.finish()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._project!r}, {self._mode!r})"


def _log_in() -> None:
    """Use the key that is known; wandb itself would ask for one, and a training would wait."""
    import wandb

    # Where the caller has a run open, wandb says no to whoever logs in again.
    if wandb.run is None and not wandb.login(prompt=False, verify=False):
        raise RuntimeError("wandb knows no key: run `wandb login` or set WANDB_API_KEY")


def _id_in(path: Path, *, new: bool) -> str:
    """The id kept in a file, or a new one that is kept there."""
    kept = "" if new or not path.exists() else path.read_text("utf-8").strip()
    if not kept:
        kept = secrets.token_hex(4)
        path.write_text(kept + "\n", "utf-8")
    return kept
