"""The log of a run: four bytes a step, from which the final weights are rebuilt on another machine.

A run is determined by its initial weights, the optimizer's options, the learning rates and the slopes of its
steps. Two files hold them: ``NAME`` the slopes, one little-endian float32 (float64 where the loss is) for
every probe of every step, and ``NAME.json`` the rest: the optimizer's class, the options of its groups, and
the learning rates with the steps from which they held. A learning rate that changes in every step is written
in every step.

Raises GraftworkError where a file is no log or does not fit the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from graftwork import GraftworkError

if TYPE_CHECKING:
    from graftwork_optim_core.zeroth_order.optimizer import ZerothOrderOptimizer

FORMAT = 1
_FLUSH_EVERY = 64
_OWN = ("params", "param_names", "pending_decay", "chosen_backend", "lr", "initial_lr")


class RunLog:
    """Appends the slopes of every step to a file; given to an optimizer as ``log_file``.

    Slopes are written out every 64 steps and by :meth:`flush`, so that a device is seldom waited for. A run
    that is resumed from a checkpoint goes on behind the checkpoint's step; what was written after it is cut
    off.

    Args:
        path: of the slopes; the rest goes to the same name with ``.json`` behind it.
        optimizer: whose steps.
    """

    def __init__(self, path: Path, optimizer: ZerothOrderOptimizer) -> None:
        self.path = path
        self._optimizer = optimizer
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
        ranks = self._optimizer.ranks
        self._writes = ranks.rank == 0
        if not self._writes:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if step == 0:
            self.path.write_bytes(b"")
            return
        earlier = read_log(self.path)
        if len(earlier.slopes) < step:
            raise GraftworkError(
                f"log_file {self.path} ends at step {len(earlier.slopes)}, the run goes on at step {step}; "
                "give the log of that run, or another name"
            )
        with self.path.open("r+b") as file:
            file.truncate(step * slopes.numel() * slopes.element_size())
        self._rates = [(start, list(rates)) for start, rates in earlier.rates if start < step]

    def _write_rest(self, dtype: torch.dtype) -> None:
        optimizer = self._optimizer
        groups = [
            {
                "names": list(group.get("param_names", [])),
                "shapes": [list(parameter.shape) for parameter in group["params"]],
                **{key: value for key, value in group.items() if key not in _OWN},
            }
            for group in optimizer.param_groups
        ]
        probes = optimizer.param_groups[0]["probes"]
        ranks = optimizer.ranks
        rest = {
            "format": FORMAT,
            "optimizer": type(optimizer).__name__,
            "dtype": str(dtype).removeprefix("torch."),
            "slopes_a_step": probes * (ranks.size if ranks.mode == "probes" else 1),
            "accumulate_dtype": optimizer.accumulate_dtype,
            "backend": optimizer.evaluation.backend,
            "in_place": optimizer.evaluation.names_in_place(),
            "rate_dtypes": [
                str(rate.dtype).removeprefix("torch.") if isinstance(rate, Tensor) else None
                for rate in (group["lr"] for group in optimizer.param_groups)
            ],
            "groups": groups,
            "rates": self._rates,
        }
        partial = self.path.with_name(self.path.name + ".json.partial")
        partial.write_text(json.dumps(rest, indent=1), "utf-8")
        partial.replace(self.path.with_name(self.path.name + ".json"))


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A log that was read.

    Args:
        slopes: of all steps, ``[steps, slopes a step]``.
        rates: learning rates by group, with the step from which they held.
        rest: everything else in the log.
    """

    slopes: Tensor
    rates: Sequence[tuple[int, Sequence[float]]]
    rest: Mapping[str, Any] = field(repr=False)

    def replay(self, model: nn.Module, steps: int | None = None) -> ZerothOrderOptimizer:
        """Take the recorded steps from a model's weights, which must be those that the run began with.

        On a CPU of the same kind the weights come out bit by bit as the run left them.

        Args:
            model: whose parameters have the names, or the order, of the recorded ones.
            steps: how many to take; none takes all.

        Returns:
            The optimizer, in the state in which the run left it; all movement is written into the weights.

        Raises:
            GraftworkError: the model's parameters are others.
        """
        optimizer = self._optimizer(model)
        optimizer.evaluation.take_out(self.rest["in_place"])
        changes = dict(self.rates)
        for step, slopes in enumerate(self.slopes[:steps].unbind()):
            for group, rate in zip(optimizer.param_groups, changes.get(step, ()), strict=False):
                group["lr"] = rate
            for group, dtype in zip(optimizer.param_groups, self.rest["rate_dtypes"], strict=True):
                if dtype is not None:
                    group["lr"] = torch.tensor(float(group["lr"]), dtype=getattr(torch, dtype))
            optimizer.step_with_slopes(slopes.clone())
        optimizer.merge()
        return optimizer

    def _optimizer(self, model: nn.Module) -> ZerothOrderOptimizer:
        from graftwork_optim_core.zeroth_order.optimizer import ZerothOrderOptimizer

        named = dict(model.named_parameters())
        unnamed = iter(named.items())
        groups = []
        count = sum(len(recorded["shapes"]) for recorded in self.rest["groups"])
        if len(named) < count:
            raise GraftworkError(f"the model has {len(named)} parameters, the log {count}")
        for number, recorded in enumerate(self.rest["groups"]):
            names = recorded["names"]
            if missing := [name for name in names if name not in named]:
                raise GraftworkError(f"the model has no parameter {missing[0]!r}, which the log has")
            pairs = [(n, named[n]) for n in names] if names else [next(unnamed) for _ in recorded["shapes"]]
            for (name, parameter), shape in zip(pairs, recorded["shapes"], strict=True):
                if list(parameter.shape) != shape:
                    raise GraftworkError(
                        f"parameter {name!r} has shape {tuple(parameter.shape)}, in the log {tuple(shape)}"
                    )
            options = {key: value for key, value in recorded.items() if key not in ("names", "shapes")}
            options |= {"lr": self.rates[0][1][number], "backend": self.rest["backend"]}
            chosen = pairs if names else [parameter for _, parameter in pairs]
            groups.append({"params": chosen, **options})
        return ZerothOrderOptimizer(
            groups,
            accumulate_dtype=self.rest["accumulate_dtype"],
            **{key: groups[0][key] for key in ("interval", "eps", "probes", "seed", "backend")},
        )


def read_log(path: Path) -> RecordedRun:
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
    return RecordedRun(slopes, [(int(step), rates) for step, rates in rest["rates"]], rest)
