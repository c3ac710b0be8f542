"""Checkpoints that are whole or absent.

A checkpoint is written by ``torch.distributed.checkpoint`` into ``step-000500.partial/`` and renamed when
every rank is done; no reader opens a ``.partial``. It holds model, optimizer, each rank's generators, and
``state.json``: the step and whatever plain numbers the trainer wants back.
"""

from __future__ import annotations

import gc
import json
import logging
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load as load_distributed
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

from graftwork import GraftworkError
from graftwork_trainer.random_state import RandomState

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

    def steps(self) -> list[int]:
        """The steps of all whole checkpoints, oldest first."""
        if not self.directory.is_dir():
            return []
        matches = [_NAME.fullmatch(path.name) for path in self.directory.iterdir()]
        return sorted(int(match[1]) for match in matches if match)

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.directory / f"step-{step:06d}"

    def save(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
    ) -> Path:
        """Write a checkpoint, then remove those beyond ``keep``. Every rank calls it.

        Args:
            step: steps taken so far.
            model: unwrapped from DDP.
            optimizer: over that model.
            state: plain numbers and strings to get back from :meth:`load`.

        Raises:
            GraftworkError: it could not be written (a full disk); earlier checkpoints are untouched.
        """
        final = self.path(step)
        partial = final.with_name(final.name + ".partial")

        def begin() -> None:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)

        def conclude() -> None:
            (partial / "state.json").write_text(json.dumps({**state, "step": step}), "utf-8")
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            self._prune()

        problem = None
        with _quiet():
            try:
                _on_main_rank(begin)
                save_distributed(_contents(model, optimizer), checkpoint_id=partial)
                _on_main_rank(conclude)
            except (OSError, RuntimeError, CheckpointException) as error:
                problem = _cause(error)
            if problem is not None:
                gc.collect()  # now, while its complaint is not heard
        if problem is not None:
            shutil.rmtree(partial, ignore_errors=True)
            raise GraftworkError(
                f"checkpoint {final}: could not be written: {problem}; "
                f"{_kept(self.steps())}, so make room and continue with `graftwork train --resume`"
            )
        return final

    def load(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> dict[str, Any] | None:
        """Load the newest whole checkpoint in place and return its ``state``; None where there is none.

        Raises:
            GraftworkError: it is there and cannot be read, or does not fit the model.
        """
        steps = self.steps()
        if not steps:
            return None
        path = self.path(steps[-1])
        contents = _contents(model, optimizer)
        try:
            state = json.loads((path / "state.json").read_text("utf-8"))
            with _quiet():
                known = FileSystemReader(path).read_metadata().state_dict_metadata
                if not all(f"random.{key}" in known for key in contents["random"]):
                    del contents["random"]  # written by fewer ranks: this one keeps its fresh seed
                load_distributed(contents, checkpoint_id=path)
                with _step_held_back(optimizer):
                    set_state_dict(
                        model,
                        optimizer,
                        model_state_dict=contents["model"],
                        optim_state_dict=contents["optimizer"],
                    )
        except (Exception, CheckpointException) as error:
            earlier = f"; remove that folder to go on from step {steps[-2]}" if len(steps) > 1 else ""
            raise GraftworkError(f"checkpoint {path}: cannot be read: {_cause(error)}{earlier}") from error
        if "random" in contents:
            tensors = contents["random"]
            RandomState(*(tensors.get(f"rank-{_rank()}-{name}") for name in ("cpu", "cuda"))).restore()
        return dict(state)

    def _prune(self) -> None:
        for step in self.steps()[: -self.keep]:
            # Renamed first, so that a kill half-way through the removal leaves no half checkpoint.
            doomed = self.path(step).rename(self.path(step).with_suffix(".partial"))
            shutil.rmtree(doomed, ignore_errors=True)
        for leftover in self.directory.glob("*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)


def _contents(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    with _step_held_back(optimizer):
        model_state, optimizer_state = get_state_dict(model, optimizer)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    generators = RandomState.capture(device).tensors()
    return {
        "model": model_state,
        "optimizer": optimizer_state,
        "random": {f"rank-{_rank()}-{name}": tensor for name, tensor in generators.items()},
    }


@contextmanager
def _step_held_back(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Keep torch from calling ``step(closure=None)`` on an optimizer that needs a closure.

    Torch does so, with zero gradients and learning rate 0, to make the state of an optimizer that has none
    yet. Those with a closure make theirs when they are built.
    """
    if getattr(optimizer, "closure", None) is None:
        yield
        return
    patched = vars(optimizer).get("step")  # a scheduler's wrapper, where there is one
    vars(optimizer)["step"] = lambda closure=None: None
    try:
        yield
    finally:
        del vars(optimizer)["step"]
        if patched is not None:
            vars(optimizer)["step"] = patched


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _on_main_rank(action: Callable[[], None]) -> None:
    """Run on rank 0 and let every rank know how it went, so that none waits for one that failed."""
    problem: list[str | None] = [None]
    if _rank() == 0:
        try:
            action()
        except OSError as error:
            problem = [_cause(error)]
    if dist.is_initialized():
        dist.broadcast_object_list(problem)
    if problem[0] is not None:
        raise OSError(problem[0])


def _cause(error: BaseException) -> str:
    """The first line of what went wrong, from inside the exceptions that torch gathers per rank."""
    if isinstance(error, CheckpointException):
        return "; ".join(f"rank {rank}: {_cause(failure[0])}" for rank, failure in error.failures.items())
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {(str(error).strip() or '(no message)').splitlines()[0]}"


def _kept(steps: list[int]) -> str:
    return f"the checkpoint of step {steps[-1]} is whole" if steps else "there is no earlier one"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's remarks on unsharded single-process checkpoints out of the terminal.

    Its writer also complains, where nobody can catch it, when it is collected after a write has failed.
    """
    logger = logging.getLogger("torch.distributed.checkpoint")
    level, hook = logger.level, sys.unraisablehook
    logger.setLevel(logging.ERROR)
    sys.unraisablehook = lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        sys.unraisablehook = hook
