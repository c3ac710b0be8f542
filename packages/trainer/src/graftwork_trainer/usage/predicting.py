"""``graftwork predict``: what a run's model says of each input."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from graftwork import GraftworkError, Override
from graftwork.errors import did_you_mean
from graftwork.refusal import accepted
from graftwork.values import NotAccepted, describe, is_finite
from graftwork_trainer.device import Device
from graftwork_trainer.evaluation import evaluation_mode
from graftwork_trainer.usage.inputs import Input, read_inputs
from graftwork_trainer.usage.named import named_run
from graftwork_trainer.usage.trained import TrainedModel, open_trained, settings_of

Predicted = tuple[Input, Mapping[str, Any]]
_OF_INPUT = (GraftworkError, ValueError, KeyError, OSError)
"""What a task raises because of what it was given."""


def predict_run(
    text: str,
    source: str,
    *,
    overrides: Sequence[Override] = (),
    batch_size: int = 32,
    device: Device | None = None,
) -> Iterator[Predicted]:
    """Yield every input with its prediction, in order.

    Args:
        text: ``RUN``, ``RUN:best`` or ``RUN:600``.
        source: of the inputs, see :func:`read_inputs`.
        overrides: put over the run's recipe; those of ``predict`` are keyword arguments of the task's method.
        batch_size: inputs that the task is handed at once.
        device: to compute on; None for what the recipe says.

    Raises:
        GraftworkError: the task predicts nothing, or an input is not right; those before it were yielded.
    """
    named = named_run(text)
    of_predict = [override for override in overrides if override.path[0] == "predict"]
    of_recipe = [override for override in overrides if override not in of_predict]
    settings = settings_of(named, of_recipe, device)
    task = settings.recipe.task
    if not hasattr(task.target, "predict"):
        raise GraftworkError(
            f"{task.name} predicts nothing: it has no predict(model, inputs), see `graftwork info "
            f"task/{task.name}`; `graftwork export` writes its model for use elsewhere"
        )
    options = _options(task.target.predict, of_predict)
    inputs = read_inputs(source, getattr(task.target, "predict_inputs", "row"))
    trained = open_trained(named, settings, elsewhere=True)
    with settings.forward(trained.world) or nullcontext():
        yield from predictions(trained, inputs, options, batch_size)


def predictions(
    trained: TrainedModel, inputs: Iterable[Input], options: Mapping[str, Any], batch_size: int
) -> Iterator[Predicted]:
    """Hand a task its inputs, batch by batch; where it fails, those before the one that it failed for come
    out first.

    Raises:
        GraftworkError: an input is not right, or the task does not give a mapping for each.
    """
    for batch, broken in _batches(inputs, batch_size):
        try:
            rows = _rows(trained, batch, options)
        except _OF_INPUT:
            for one in batch:
                yield one, _alone(trained, one, options)
            raise
        yield from zip(batch, rows, strict=True)
        if broken is not None:
            raise broken


def _batches(inputs: Iterable[Input], size: int) -> Iterator[tuple[list[Input], GraftworkError | None]]:
    batch: list[Input] = []
    try:
        for one in inputs:
            batch.append(one)
            if len(batch) == size:
                yield batch, None
                batch = []
    except GraftworkError as error:
        yield batch, error
        return
    if batch:
        yield batch, None


def _rows(
    trained: TrainedModel, batch: Sequence[Input], options: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    if not batch:
        return []
    task: Any = trained.task
    with evaluation_mode(trained.model):
        rows: list[Any] = list(task.predict(trained.model, [one.given for one in batch], **options))
    if len(rows) != len(batch) or not all(isinstance(row, Mapping) for row in rows):
        raise TypeError(
            f"predict of {type(task).__name__} must return a mapping for each of {len(batch)} inputs, got "
            f"{len(rows)} of {', '.join(sorted({type(row).__name__ for row in rows})) or 'nothing'}"
        )
    return rows


def _alone(trained: TrainedModel, one: Input, options: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return _rows(trained, [one], options)[0]
    except _OF_INPUT as error:
        kind = "" if isinstance(error, GraftworkError | ValueError) else f"{type(error).__name__}: "
        raise GraftworkError(f"{one.place}: {kind}{error}") from error


def _options(predict: Any, overrides: Sequence[Override]) -> dict[str, Any]:
    """Keyword arguments of a task's ``predict``.

    Raises:
        GraftworkError: it has no such one, or takes no such value.
    """
    parameters = inspect.signature(predict).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    hints = typing.get_type_hints(predict)
    options = {}
    for override in overrides:
        name = override.path[1]
        if name not in known or len(override.path) > 2:
            raise GraftworkError(
                f"{override.origin}: predict has no option {name!r}{did_you_mean(name, known)} (its options: "
                f"{', '.join(known) or 'none'})"
            )
        try:
            options[name] = accepted(override.value, override.text, hints.get(name, Any))
        except NotAccepted:
            wanted = describe(hints.get(name, Any))
            raise GraftworkError(f"{override.origin}: expected {wanted}, got {override.value!r}") from None
        if not is_finite(options[name]):
            raise GraftworkError(f"{override.origin}: must be finite, got {override.value!r}")
    return options
