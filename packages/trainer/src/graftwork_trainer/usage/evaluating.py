"""``graftwork evaluate``: the metrics of a run's model, as training computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graftwork import GraftworkError, Override
from graftwork.schema import schema_of
from graftwork_trainer.device import Device
from graftwork_trainer.evaluation import evaluate
from graftwork_trainer.parallel import process_group
from graftwork_trainer.usage.named import named_run
from graftwork_trainer.usage.trained import Settings, open_trained, settings_of


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation found.

    Args:
        step: that the weights are of.
        split: of the data.
        metrics: by the task's names.
        main: whether this process is to tell.
    """

    step: int
    split: str
    metrics: dict[str, float]
    main: bool


def evaluate_run(
    text: str,
    *,
    data: str | None = None,
    split: str | None = None,
    overrides: Sequence[Override] = (),
    device: Device | None = None,
) -> Evaluated:
    """Evaluate a run's model; under torchrun every rank calls it, and the work is shared.

    Args:
        text: ``RUN``, ``RUN:best`` or ``RUN:600``.
        data: other data; None for that of the run.
        split: of the data; None for validation, or, of other data, for all that the task makes of it.
        overrides: put over the run's recipe.
        device: to compute on; None for what the recipe says.

    Raises:
        GraftworkError: the task has no such part, or knows no other data.
    """
    named = named_run(text)
    settings = settings_of(named, overrides, device)
    if data is not None:
        given, split = _on_other_data(settings, data, split)
        settings = settings_of(named, [*overrides, *given], device)
    split = split or "validation"
    with process_group(settings.loop.timeout_seconds):
        trained = open_trained(named, settings, elsewhere=bool(data or overrides))
        known = tuple(getattr(trained.task, "splits", ("train", "validation")))
        if split not in known:
            raise GraftworkError(
                f"{settings.recipe.task.name} has no {split} part (it has {' and '.join(known)}); "
                "--data evaluates on data of your own"
            )
        world = trained.world
        metrics = evaluate(
            trained.task,
            trained.model,
            split,
            world=world,
            forward=settings.forward(world),
            loading=settings.loading(world),
        )
    return Evaluated(trained.step, split, metrics, world.rank == 0)


def _on_other_data(settings: Settings, data: str, split: str | None) -> tuple[list[Override], str]:
    """The options by which a task evaluates on other data, and as which part."""
    task: Any = settings.recipe.task
    if hasattr(task.target, "other_data"):
        options, part = dict(task.target.other_data(data)), "test"
    else:
        known = schema_of(task.target, task.kind).options
        if "data" not in known:
            raise GraftworkError(
                f"--data: {task.name} has no option data; name its own by --set task.NAME=VALUE (it has "
                f"{', '.join(known) or 'none'})"
            )
        options, part = {"data": data}, "validation"
    values = {name: "none" if value is None else value for name, value in options.items()}
    overrides = [Override(("task", name), value, f"--data {data}") for name, value in values.items()]
    return overrides, split or part
