"""Training from Python, with classes, functions and objects at hand in place of names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from graftwork import (
    GraftworkError,
    Interrupted,
    Kind,
    Override,
    Recipe,
    build_recipe,
    get_registry,
    load_recipe,
)
from graftwork.faults import sentence_of
from graftwork.registry import registry_in_use
from graftwork.resolution import Resolved
from graftwork_trainer.claim import claimed
from graftwork_trainer.failure import exception_of
from graftwork_trainer.given import described, names_of, plugin_of
from graftwork_trainer.option_mistakes import ranges_told
from graftwork_trainer.own_code import absence_named
from graftwork_trainer.training import Trained, train_resolved
from graftwork_trainer.untouched import process_as_before


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe | Resolved,
    directory: str | Path | None = None,
    *,
    task: Any = None,
    model: Any = None,
    optimizer: Any = None,
    trainer: Any = None,
    callbacks: Sequence[Any] = (),
    resume: bool = False,
    quiet: bool = False,
    allow: Collection[str] = (),
) -> Trained:
    """Train a recipe from Python, a notebook for instance, with classes and functions at hand.

    An object takes the place of what its section names, and the section's options are for it, checked against
    its signature as those of a plugin are. Ctrl-C saves and raises ``Interrupted``, from the main thread; the
    global generators, the signal handlers and torch's choice of algorithms are afterwards what they were
    before. One training at a time in a process: they would share torch's generators.

    Args:
        recipe: a registered recipe's name, a .toml file, its sections as a mapping, or what
            :func:`graftwork.load_recipe` and :meth:`graftwork.Recipe.resolve` return.
        directory: of the run; a new one under ``runs/`` unless given.
        task: a :class:`graftwork.Task`, or a class or function that makes one of options.
        model: a ``torch.nn.Module``, which is trained itself and no copy of it, from the weights that it has;
            or a class or function that makes one. For tasks whose recipe has a section ``[model]``.
        optimizer: a class, or a function, of parameters and options; a ``functools.partial`` is one.
        trainer: an object with ``fit``, or a class or function that makes one of options.
        callbacks: objects with ``on_step(moment)``, ``on_evaluation(moment)`` or ``on_end(moment)``, see
            :class:`graftwork_trainer.callbacks.Moment`.
        resume: go on from the newest checkpoint in the directory, with the same objects as before.
        quiet: no progress bar.
        allow: a name, or several, of what may be another than in that checkpoint.

    Returns:
        The model, in evaluation mode and on the device that it was trained on; its metrics; the run.

    Raises:
        GraftworkError: a mistake in the recipe or in an object, or the training cannot go on.
        Exception: of somebody's code, as that raised it; its note says of which component, and where.
        Interrupted: Ctrl-C or another signal; what was trained is saved.
    """
    if directory == "":  # which a variable that was not set leaves
        raise GraftworkError("directory: must name a directory, or be None for a new one; got ''")
    directory = None if directory is None else Path(directory)
    allow = [allow] if isinstance(allow, str) else allow
    if resume and not (directory and (directory / "recipe.toml").is_file()):
        raise GraftworkError(f"resume: directory must be a run's, with a recipe.toml in it; got {directory}")
    given = {"task": task, "model": model, "optimizer": optimizer, "trainer": trainer}
    objects = {kind: thing for kind, thing in given.items() if thing is not None}
    registry = get_registry()
    for callback in callbacks:
        if lacking := registry.kinds[Kind.CALLBACK].lacking(callback):
            raise GraftworkError(f"callbacks: {described(callback)} lacks {lacking[0]}")
    plugin = plugin_of(objects, registry)
    with (
        registry_in_use(registry.extended(plugin)) if objects else nullcontext(),
        claimed(directory, resume=resume) if directory else nullcontext(),
        process_as_before(),
    ):
        with absence_named(directory) if directory and resume else nullcontext(), ranges_told():
            resolved = _resolved(recipe, names_of(plugin))
        try:
            return train_resolved(
                resolved, directory, resume=resume, quiet=quiet, allow=allow, callbacks=callbacks
            )
        except Interrupted as stop:
            raise Interrupted(f"{stop}, or in Python with resume=True", stop.number) from None
        except GraftworkError as error:
            # Whoever wrote the code is here: the exception itself, for a debugger, and its type.
            raised = exception_of(error)
            if raised is None:
                raise
        except Exception as error:
            error.add_note(sentence_of(error))
            raise
        raise raised


def _resolved(
    recipe: str | Path | Mapping[str, Any] | Recipe | Resolved, overrides: Sequence[Override]
) -> Resolved:
    if isinstance(recipe, str | Path):
        return load_recipe(str(recipe), overrides).resolve()
    if isinstance(recipe, Resolved) and not overrides:
        return recipe
    if isinstance(recipe, Recipe | Resolved):
        return build_recipe(recipe.sections, name=recipe.name, overrides=overrides).resolve()
    if not isinstance(recipe, Mapping):
        raise GraftworkError(
            f"recipe: must be a name, a .toml file, a mapping of sections or a recipe, got {recipe!r}"
        )
    return build_recipe(recipe, overrides=overrides).resolve()
