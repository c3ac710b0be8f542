"""The log of a run: four bytes a step, from which the final weights are rebuilt on another machine.

A run is determined by its initial weights, the optimizer's options, the learning rates and the slopes of its
steps; :mod:`.replay` takes these steps again. Two files hold them: ``NAME`` the slopes, one little-endian
float32 (float64 where the loss is) for every probe of every step, and ``NAME.json`` the rest: the optimizer's
class, the options of its groups, and the learning rates with the steps from which they held. A learning rate
that changes in every step is written in every step.

Raises GraftworkError where a file is no log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_optim_core.zeroth_order.evaluation import Evaluation
from graftwork_optim_core.zeroth_order.ranks import Ranks

FORMAT = 1
_FLUSH_EVERY = 64
_OWN = ("params", "param_names", "pending_decay", "chosen_backend", "lr", "initial_lr")


class RunFacts(NamedTuple):
    """What determines a run besides its initial weights, its slopes and its learning rates.

    Args:
        optimizer: the name of its class.
        groups: its parameter groups.
        accumulate_dtype: least precision of movement and momentum.
        evaluation: how the losses are evaluated.
        ranks: the processes that take part.
    """

    optimizer: str
    groups: Sequence[Mapping[str, Any]]
    accumulate_dtype: str
    evaluation: Evaluation
    ranks: Ranks

    @property
    def slopes_a_step(self) -> int:
        """Of all probes, and of all processes where each has its own."""
        probes: int = self.groups[0]["probes"]
        return probes * (self.ranks.size if self.ranks.mode == "probes" else 1)


class RunLog:
    """Appends the slopes of every step to a file; given to an optimizer as ``log_file``.

    Slopes are written out every 64 steps and by :meth:`flush`, so that a device is seldom waited for. A run
    that is resumed from a checkpoint goes on behind the checkpoint's step; what was written after it is cut
    off.

    Args:
        path: of the slopes; the rest goes to the same name with ``.json`` behind it.
        facts: tells of the run as it is now; asked whenever something is written.
    """

    def __init__(self, path: Path, facts: Callable[[], RunFacts]) -> None:
        self.path = path
        self._facts = facts
        self._pending: list[Tensor] = []
        self._rates: list[tuple[int, list[float]]] = []
        self._next: int | None = None
        self._writes = True

    def append(self, step: int, slopes: Tensor, groups: Sequence[Mapping[str, Any]]) -> None:
        """Take note of a step.

        Args:
            step: its number, from 0.
            slopes: of all probes.
            groups: with the learning rates that the step used.
        """
        if self._next != step:
            self.flush()
            self._begin(step, slopes)
        rates = [float(group["lr"]) for group in groups]
        if not self._rates or self._rates[-1][1] != rates:
            self._rates.append((step, rates))
        self._pending.append(slopes.detach().clone())
        self._next = step + 1
        if len(self._pending) >= _FLUSH_EVERY:
            self.flush()

    def check_recorded(self, changed: Collection[str]) -> None:
        """Check that options which change after the first step are recorded: learning rates alone are.

        Raises:
            ValueError: another has changed.
        """
        lost = sorted(key for key in changed if key not in _OWN and not key.startswith(("_", "initial_")))
        if lost and self._next is not None:
            raise ValueError(
                f"{lost[0]} must stay what it was at the first step: log_file {self.path} records no changes "
                "but those of lr; leave log_file out to change it"
            )

    def flush(self) -> None:
        """Write what is not yet written."""
        if not self._pending or not self._writes:
            self._pending.clear()
            return
        slopes = torch.cat([slope.reshape(-1) for slope in self._pending]).cpu()
        with self.path.open("ab") as file:
            file.write(slopes.numpy().tobytes())
        self._pending.clear()
        self._write_rest(slopes.dtype)

    def _begin(self, step: int, slopes: Tensor) -> None:
        self._writes = self._facts().ranks.rank == 0
        if not self._writes:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if step == 0:
            self.path.write_bytes(b"")
            return
        earlier = read_logged_steps(self.path)
        if len(earlier.slopes) < step:
            raise GraftworkError(
                f"log_file {self.path} ends at step {len(earlier.slopes)}, the run goes on at step {step}; "
                "give the log of that run, or another name"
            )
        with self.path.open("r+b") as file:
            file.truncate(step * slopes.numel() * slopes.element_size())
        self._rates = [(start, list(rates)) for start, rates in earlier.rates if start < step]

    def _write_rest(self, dtype: torch.dtype) -> None:
        facts = self._facts()
        groups = [
            {
                "names": list(group.get("param_names", [])),
                "shapes": [list(parameter.shape) for parameter in group["params"]],
                **{key: value for key, value in group.items() if key not in _OWN},
            }
            for group in facts.groups
        ]
        rest = {
            "format": FORMAT,
            "optimizer": facts.optimizer,
            "dtype": str(dtype).removeprefix("torch."),
            "slopes_a_step": facts.slopes_a_step,
            "accumulate_dtype": facts.accumulate_dtype,
            "backend": facts.evaluation.backend,
            "in_place": facts.evaluation.names_in_place(),
            "rate_dtypes": [
                str(rate.dtype).removeprefix("torch.") if isinstance(rate, Tensor) else None
                for rate in (group["lr"] for group in facts.groups)
            ],
            "groups": groups,
            "rates": self._rates,
        }
        partial = self.path.with_name(self.path.name + ".json.partial")
        partial.write_text(json.dumps(rest, indent=1), "utf-8")
        partial.replace(self.path.with_name(self.path.name + ".json"))


@dataclass(frozen=True, slots=True)
class LoggedSteps:
    """What a log holds.

    Args:
        slopes: of all steps, ``[steps, slopes a step]``.
        rates: learning rates by group, with the step from which they held.
        rest: everything else in the log.
    """

    slopes: Tensor
    rates: Sequence[tuple[int, Sequence[float]]]
    rest: Mapping[str, Any] = field(repr=False)


def read_logged_steps(path: Path) -> LoggedSteps:
    """Read a log.

    Args:
        path: as given as ``log_file``.

    Raises:
        GraftworkError: it is no log.
    """
    beside = path.with_name(path.name + ".json")
    try:
        rest = json.loads(beside.read_text("utf-8"))
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise GraftworkError(f"{path} is no log of a run: {error}") from error
    if rest.get("format") != FORMAT:
        raise GraftworkError(f"{beside}: format must be {FORMAT}, got {rest.get('format')!r}")
    dtype: torch.dtype = getattr(torch, rest["dtype"])
    a_step = int(rest["slopes_a_step"])
    whole = len(raw) // (a_step * dtype.itemsize)
    numbers = (
        torch.frombuffer(bytearray(raw[: whole * a_step * dtype.itemsize]), dtype=dtype) if whole else None
    )
    slopes = torch.empty(0, a_step, dtype=dtype) if numbers is None else numbers.view(whole, a_step)
    return LoggedSteps(slopes, [(int(step), rates) for step, rates in rest["rates"]], rest)
