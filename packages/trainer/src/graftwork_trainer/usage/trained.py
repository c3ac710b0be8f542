"""A run's task and model again, as they were evaluated in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import nn

from graftwork import GraftworkError, Override, Task, build_recipe
from graftwork.recipe_file import read_toml
from graftwork.resolution import Resolved
from graftwork_trainer.assets import load_assets, trained_task
from graftwork_trainer.data.workers import Loading
from graftwork_trainer.device import Device
from graftwork_trainer.model_folder.manifest import model_folder
from graftwork_trainer.options import GradientOptions, LoopOptions
from graftwork_trainer.own_code import absence_named, environment_of
from graftwork_trainer.parallel import Parallel, World
from graftwork_trainer.usage.named import NamedRun
from graftwork_trainer.weights.runs import AgentsSource, RunSource, open_run


@dataclass(frozen=True)
class Settings:
    """How a run's model is used.

    Args:
        recipe: of the run, with what is put over it.
        trainer: built of it.
        device: to compute on; None for what the recipe says.
    """

    recipe: Resolved
    trainer: Any
    device: Device | None

    @property
    def loop(self) -> LoopOptions:
        """The options of every training; those of a trainer of somebody else's may be others."""
        loop = getattr(self.trainer, "loop", None)
        return loop if isinstance(loop, LoopOptions) else GradientOptions()

    def world(self) -> World:
        """Where this process stands."""
        parallel: Parallel = getattr(self.trainer, "parallel", "auto")
        return World.current(self.device or self.loop.device, parallel)

    def forward(self, world: World) -> AbstractContextManager[Any] | None:
        """What the model is run in."""
        return self.loop.autocast(world.device) if isinstance(self.loop, GradientOptions) else None

    def loading(self, world: World) -> Loading | None:
        """How samples are loaded."""
        return self.loop.loading(world.device) if isinstance(self.loop, GradientOptions) else None


@dataclass(frozen=True)
class TrainedModel:
    """What a run trained.

    Args:
        task: with the assets that the weights are used with.
        model: in evaluation mode, on its device, spread over ranks where the trainer spreads it.
        world: where this process stands.
        step: that the weights are of.
        weights: name of the checkpoint that has them.
        metrics: of their evaluation, as far as they are kept with them.
    """

    task: Task
    model: nn.Module
    world: World
    step: int
    weights: str
    metrics: Mapping[str, float]


def settings_of(
    named: NamedRun, overrides: Sequence[Override] = (), device: Device | None = None
) -> Settings:
    """Read a run's recipe.

    Args:
        named: the run.
        overrides: put over its recipe.
        device: to compute on; None for what the recipe says.

    Raises:
        GraftworkError: it cannot be read, or what it names is not here.
    """
    path = named.run / "recipe.toml"
    sections = read_toml(path)
    with absence_named(named.run):
        name = named.run.resolve().name
        recipe = build_recipe(sections, name=name, source=str(path), overrides=overrides).resolve()
    return Settings(recipe, recipe.trainer(), device)


def open_trained(named: NamedRun, settings: Settings, *, elsewhere: bool) -> TrainedModel:
    """Build a run's task and model, and put the trained weights in; every rank calls it.

    Args:
        named: the run and which of its weights.
        settings: how it is used.
        elsewhere: whether it is for other data than it was trained with: then the task takes the run's own
            assets (its tokenizer, the names of its labels) in any case.

    Raises:
        GraftworkError: the weights are not what was written, or of another model.
    """
    world = settings.world()
    settings.loop.begin()
    if elsewhere:
        task: Task = settings.recipe.task()
        load_assets(task, model_folder(named.run))
    else:
        task = trained_task(settings.recipe, named.run, environment_of(named.run))
    source: RunSource | AgentsSource = open_run(named.place, named.text)
    model: Any = task.build_model()
    if not isinstance(model, nn.Module):
        raise GraftworkError(f"{named.text}: its task {settings.recipe.task.name} has no model to use alone")
    world.place(model)
    source.put_in(model)
    return TrainedModel(task, model.eval(), world, source.step, source.name, source.metrics)
