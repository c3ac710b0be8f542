"""Where metrics go: a JSON-lines file, which is the record, and TensorBoard, which is for looking at.

TensorBoard is an extra: without it the record is all there is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class JsonLines:
    """Appends one flat JSON object a line, flushed at once.

    Args:
        path: the file; what it holds beyond ``keep_to_step`` (written after the checkpoint that a resumed run
            starts from, or torn by a kill) is cut off.
    """

    def __init__(self, path: Path, keep_to_step: int) -> None:
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= keep_to_step]
        replacement = path.with_suffix(".partial")
        replacement.write_text("".join(f"{line}\n" for line in kept), "utf-8")
        replacement.rename(path)
        self.last: dict[str, Any] = json.loads(kept[-1]) if kept else {}
        self._file = path.open("a", encoding="utf-8")

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Bring everything to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


class TensorBoard:
    """Scalars for ``tensorboard --logdir RUN/tensorboard``; nothing where tensorboard is not installed."""

    def __init__(self, directory: Path, keep_to_step: int) -> None:
        self._writer: SummaryWriter | None = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(directory), purge_step=keep_to_step + 1)

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write every metric as a scalar."""
        if self._writer is None:
            return
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and stop the writer's thread."""
        if self._writer is not None:
            self._writer.close()


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    text = path.read_text("utf-8")
    # A line without its newline was cut off by a kill.
    return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
