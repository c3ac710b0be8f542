"""The progress line of a run: step, loss, throughput, time left."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from graftwork.readable import readable
from graftwork_trainer.streams import Expendable


class Progress:
    """A tqdm bar over training steps.

    Args:
        start: steps taken before, by a resumed run.
        total: steps in all; None where nobody knows.
        unit: of throughput, ``tokens`` for instance.
        label: shown in front.
        shown: off on every rank but the first.
    """

    def __init__(self, start: int, total: int | None, unit: str, *, label: str, shown: bool) -> None:
        self._unit = unit
        self._bar = tqdm(
            total=total,
            initial=start,
            desc=readable(label),
            unit="step",
            dynamic_ncols=True,
            disable=not shown,
            file=Expendable(sys.stderr),
            # A log file wants a line now and then, a person wants to see it move.
            mininterval=0.2 if is_watched(sys.stderr) else 30.0,
            bar_format="{desc} {n_fmt} [{elapsed}{postfix}]"
            if total is None
            else "{desc} {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self) -> None:
        """One step done."""
        self._bar.update()

    def show(self, metrics: Mapping[str, float]) -> None:
        """Show the latest loss and throughput."""
        shown = {"loss": f"{metrics['train/loss']:.3f}"} if "train/loss" in metrics else {}
        rate = metrics.get(f"train/{self._unit}_per_second")
        if rate is not None:
            shown[f"{self._unit}/s"] = f"{rate:,.0f}"
        self._bar.set_postfix(shown, refresh=False)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self._bar.disable:
            self._bar.write(text, file=Expendable(sys.stderr))


def is_watched(stream: TextIO) -> bool:
    """Whether it is a terminal, or the output of a notebook's cell, which says that it is none."""
    return stream.isatty() or type(stream).__module__.startswith("ipykernel.")


def tell(text: str) -> None:
    """Print a line on standard error, above a progress bar where there is one."""
    tqdm.write(f"graftwork: {readable(text, lines=True)}", file=Expendable(sys.stderr))


def tell_once(text: str) -> None:
    """The same, on the first of several processes, all of which have this to tell."""
    if not int(os.environ.get("RANK", "0")):
        tell(text)
