"""The weights of a run, of its newest checkpoint, of another or of its best evaluation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_trainer.checkpoint import Checkpoints, Opened, open_checkpoint
from graftwork_trainer.checkpoint.encoding import dtype_called
from graftwork_trainer.checkpoint.geometry import Piece
from graftwork_trainer.checkpoint.model_state import restore_model, stored_name
from graftwork_trainer.weights.matching import match
from graftwork_trainer.weights.source import Found, Place, Source
from graftwork_trainer.weights.taking import take

_AGENT = re.compile(r"agent-\d{4,}")


def open_run(place: Place, told: str | None = None) -> RunSource | AgentsSource:
    """Open the weights of a run; every process of the default group calls it.

    Args:
        place: of them.
        told: what they are to be called in messages.

    Raises:
        GraftworkError: they are not there, or not what was written.
    """
    run, checkpoints = place.path, Checkpoints(place.path / "checkpoints")
    told = told or f"start_from {place.text}"
    if any(checkpoints.directory.glob("agents-*")):
        raise GraftworkError(
            f"{told}: each process of that run kept the checkpoints of its own agents (faults.on_failure = "
            "'continue'), and none has the weights of all"
        )
    best = checkpoints.best
    if place.which == "best":
        steps = sorted(
            int(path.name[5:]) for path in checkpoints.directory.glob("best-*") if path.name[5:].isdecimal()
        )
        opened = best.open(steps[-1]) if best and steps else None
        if opened is None:
            raise GraftworkError(f"{told}: {run} has no best weights: it was not evaluated yet")
    elif place.which == "last":
        names = [path.name.partition("-")[2] for path in checkpoints.directory.glob("last-*")]
        found = [int(step) for step in names if step.isdecimal()]
        opened = checkpoints.last.open(max(found, default=0))
        if opened is None:
            raise GraftworkError(f"{told}: {run} has no last weights: it did not finish")
    elif place.which == "newest":
        opened = checkpoints.newest()
        if opened is None:
            raise GraftworkError(f"{told}: {run} has no checkpoint yet")
    else:
        step = int(place.which)
        if step not in (there := checkpoints.steps()):
            kept = ", ".join(map(str, there)) or "none"
            raise GraftworkError(f"{told}: {run} has no checkpoint of step {step}; kept are {kept}")
        opened = open_checkpoint(checkpoints.path(step))
    source = RunSource(opened, f"{run}, step {opened.step}{' (best)' if place.which == 'best' else ''}")
    agents = {name.partition(".")[0] for name in source.tensors}
    return AgentsSource(source, sorted(agents)) if agents and all(map(_AGENT.fullmatch, agents)) else source


class RunSource(Source):
    """The model in a checkpoint.

    Args:
        checkpoint: opened.
        told: what it is, for messages.
    """

    def __init__(self, checkpoint: Opened, told: str) -> None:
        self.told, self._checkpoint = told, checkpoint
        self.step, self.name = checkpoint.step, checkpoint.path.name
        kept = checkpoint.index.values.get("metrics") or checkpoint.index.values["progression"].get("metrics")
        self.metrics: Mapping[str, float] = _mapping(checkpoint.decoded(kept))
        self.data = _mapping(checkpoint.part("data")["data"])
        self._values: Mapping[str, Any] = checkpoint.index.values["model"]
        found = {name: self._found(name) for name in self._values}
        self.tensors = {name: tensor for name, tensor in found.items() if tensor is not None}

    def put_in(self, model: nn.Module) -> None:
        """Make a model the one that was saved, to the bit.

        Raises:
            GraftworkError: it is another model.
        """
        try:
            restore_model(model, self._checkpoint)
        except GraftworkError as error:
            raise GraftworkError(f"checkpoint {self._checkpoint.path}: {error}") from error

    def identity(self) -> dict[str, Any]:
        """The digest of its index, which has those of all its files."""
        digest = hashlib.sha256(self._checkpoint.index.to_bytes()).hexdigest()
        return {"checkpoint": str(self._checkpoint.path), "step": self._checkpoint.step, "sha256": digest}

    def read(self, name: str, piece: Piece | None = None) -> Tensor:
        """Read a tensor, or a piece of it."""
        stored = stored_name(self._values[name])
        if stored is not None:
            return self._checkpoint.tensor(stored, piece)
        return torch.as_tensor(self._checkpoint.decoded(self._values[name]))

    def _found(self, name: str) -> Found | None:
        """A tensor of the model's; None for what is none."""
        stored = stored_name(self._values[name])
        if stored is not None:
            entry = self._checkpoint.index.tensors[stored]
            return Found(entry.shape, dtype_called(entry.dtype))
        value = self._checkpoint.decoded(self._values[name])
        return Found(tuple(value.shape), value.dtype) if isinstance(value, Tensor) else None


class AgentsSource(Source):
    """The mean over agents, which is what agents train together; of what are no such numbers the first's.

    Args:
        source: whose names begin with those of agents.
        agents: their names.
    """

    def __init__(self, source: RunSource, agents: list[str]) -> None:
        self.told = f"{source.told}, the mean of {len(agents)} agents"
        self.data, self.step = source.data, source.step
        self.name, self.metrics = source.name, source.metrics
        self._source, self._agents = source, agents
        self.tensors = {
            name.removeprefix(f"{agents[0]}."): found
            for name, found in source.tensors.items()
            if name.startswith(f"{agents[0]}.")
        }

    def put_in(self, model: nn.Module) -> None:
        """Make a model the mean over agents.

        Raises:
            GraftworkError: it is another model.
        """
        found = match(model, self.tensors)
        if other := [*found.missing, *found.misfits, *found.unused]:
            raise GraftworkError(f"{self.told}: is of another model: {other[0]!r} is there or here alone")
        take(model, self, found)

    def identity(self) -> dict[str, Any]:
        """That of all agents."""
        return self._source.identity()

    def read(self, name: str, piece: Piece | None = None) -> Tensor:
        """Read a tensor of all agents, or a piece of it."""
        first = self._source.read(f"{self._agents[0]}.{name}", piece)
        if not (first.is_floating_point() or first.is_complex()):
            return first
        total = first.double() if first.is_floating_point() else first.to(torch.complex128)
        for agent in self._agents[1:]:
            total += self._source.read(f"{agent}.{name}", piece)
        return (total / len(self._agents)).to(first.dtype)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
