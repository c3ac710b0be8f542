"""What looks at a training from outside: objects that are told of its steps, its evaluations and its end.

A callback changes nothing: it is called without gradients, the global generators are afterwards what they
were before, and it has no state that a checkpoint would keep. It is called in every process, since all must
take part where a sharded model is run; one that writes does so where ``moment.rank`` is 0. Its mistakes are
not passed over: an exception ends the training, which can go on from its newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graftwork import Choice, GraftworkError, Kind
from graftwork.faults import Fault, cause_with_place
from graftwork.resolution import choose
from graftwork_trainer.checkpoint.ranks import rank_and_size
from graftwork_trainer.evaluation import evaluation_mode
from graftwork_trainer.random_state import RandomState

EVENTS = ("on_step", "on_evaluation", "on_end")


@dataclass(frozen=True, slots=True)
class Moment:
    """What a callback is handed.

    Args:
        step: steps taken.
        metrics: after a step those of the latest record (``train/loss``), none before the first; after an
            evaluation and at the end its own (``validation/...``).
        model: after a step as it is trained; at an evaluation and at the end as it was evaluated, in
            evaluation mode.
        run: the run's directory.
        rank: of this process.
    """

    step: int
    metrics: Mapping[str, float]
    model: nn.Module
    run: Path
    rank: int


class Callbacks:
    """Those of one training.

    Args:
        named: of the recipe.
        objects: of Python.
        run: the run's directory.
        device: that is trained on.

    Raises:
        GraftworkError: one cannot be built.
    """

    def __init__(
        self, named: Sequence[Choice | str], objects: Iterable[Any], run: Path, device: torch.device
    ) -> None:
        self._run, self._device = run, device
        choices = [choose(Kind.CALLBACK, one) if isinstance(one, str) else one for one in named]
        called = [(choice.name, choice()) for choice in choices]
        called += [(type(one).__name__, one) for one in objects]
        self._of = {event: [one for one in called if hasattr(one[1], event)] for event in EVENTS}

    def step(self, step: int, metrics: Mapping[str, float], model: nn.Module) -> None:
        """Tell of a step; see :class:`Moment`.

        Raises:
            GraftworkError: a callback failed.
        """
        if self._of["on_step"]:
            self._tell(
                "on_step", Moment(step, metrics, model, self._run, rank_and_size()[0]), torch.no_grad()
            )

    def evaluation(self, step: int, metrics: Mapping[str, float], model: nn.Module) -> None:
        """Tell of an evaluation, while the weights are in place that were evaluated."""
        moment = Moment(step, metrics, model, self._run, rank_and_size()[0])
        self._tell("on_evaluation", moment, evaluation_mode(model))

    def end(self, step: int, metrics: Mapping[str, float], model: nn.Module) -> None:
        """Tell that training has ended by itself, and is saved."""
        moment = Moment(step, metrics, model, self._run, rank_and_size()[0])
        self._tell("on_end", moment, evaluation_mode(model))

    def _tell(self, event: str, moment: Moment, mode: AbstractContextManager[Any]) -> None:
        state = RandomState.capture(self._device)
        with mode:
            for name, callback in self._of[event]:
                try:
                    getattr(callback, event)(moment)
                except GraftworkError as error:
                    raise GraftworkError(
                        f"callback {name}, {event} of step {moment.step}: {error}"
                    ) from error
                except Exception as error:
                    raise Fault(
                        f"callback {name}, {event} of step {moment.step}: {cause_with_place(error)}"
                    ) from error
        state.restore()
