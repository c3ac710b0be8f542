"""Whether every variant of a comparison can be trained, found out before the first one is.

Everything that ``graftwork train --dry-run`` builds is built, and the first batch is drawn, which opens the
data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress

from graftwork import GraftworkError, Task
from graftwork.errors import OptionError
from graftwork.faults import sentence_of
from graftwork.plugin_code import plugin_code
from graftwork.resolution import Resolved
from graftwork.toml import dumps
from graftwork_trainer.assets import task_of
from graftwork_trainer.data.opening import open_stream
from graftwork_trainer.data.workers import Loading
from graftwork_trainer.dry_run import model_without_memory, optimizer_of
from graftwork_trainer.option_mistakes import refusals_of


def check_variants(variants: Mapping[str, Sequence[Resolved]], *, processes: int) -> None:
    """Build what each variant trains with, and draw its first batch.

    Data are opened once for the variants of one task, and let go with it: the trainings will need the memory.

    Args:
        variants: by what distinguishes each, for messages; its recipes differ in their seeds alone.
        processes: ranks that will share the data.

    Raises:
        GraftworkError: what is wrong, with the variant, unless the same is wrong with all of them.
    """
    variants = _apart(variants)
    by_task: dict[str, list[str]] = {}
    for name, (recipe, *_) in variants.items():
        tables = {str(number): choice.table for number, choice in enumerate(recipe.task.with_inner())}
        by_task.setdefault(dumps(tables), []).append(name)
    causes: dict[str, Sequence[str]] = {}
    for names in by_task.values():
        causes |= _check_of_one_task({name: variants[name] for name in names}, processes)
    if causes:
        raise GraftworkError(_told(causes, len(variants)))


def _apart(variants: Mapping[str, Sequence[Resolved]]) -> dict[str, Sequence[Resolved]]:
    """Each stage of a variant as one of its own."""
    apart: dict[str, Sequence[Resolved]] = {}
    for name, recipes in variants.items():
        if not recipes[0].stages:
            apart[name] = recipes
        for of_seeds in zip(*(recipe.stages for recipe in recipes), strict=True):
            apart[f"{name}, stage {of_seeds[0].name!r}"] = of_seeds
    return apart


def _told(causes: Mapping[str, Sequence[str]], variants: int) -> str:
    """What is wrong with variants, each cause once; of all variants without naming one."""
    by_cause: dict[str, list[str]] = {}
    for name, of_variant in causes.items():
        for cause in of_variant:
            by_cause.setdefault(cause, []).append(name)
    lines = []
    for cause, (first, *more) in by_cause.items():
        where = f"{first}{f' (and {len(more)} more)' if more else ''}: "
        lines.append(cause if 1 + len(more) == variants else f"{where}{cause}")
    if len(lines) == 1:
        return lines[0]
    return "\n  ".join([f"{len(causes)} of {variants} variants cannot be trained", *lines])


def _check_of_one_task(
    variants: Mapping[str, Sequence[Resolved]], processes: int
) -> dict[str, Sequence[str]]:
    """What is wrong, by variant."""
    causes: dict[str, Sequence[str]] = {}
    with _noting(causes, variants):
        task = _opened(next(iter(variants.values()))[0], processes)
        for name, recipes in variants.items():
            with _noting(causes, {name: recipes}):
                _build(task, recipes)
    return causes


@contextmanager
def _noting(causes: dict[str, Sequence[str]], variants: Mapping[str, Sequence[Resolved]]) -> Iterator[None]:
    """Note for some variants why they cannot be trained."""
    try:
        with plugin_code():
            yield
    except OptionError as error:
        # One of another component must not wait for this one to be mended.
        causes |= {name: refusals_of(recipe, error) for name, (recipe, *_) in variants.items()}
    except GraftworkError as error:
        causes |= dict.fromkeys(variants, (str(error),))
    except Exception as error:
        cause = sentence_of(error)
        if isinstance(error, OSError) and error.filename:
            cause = f"{error.filename}: {error.strerror}"
        causes |= dict.fromkeys(variants, (cause,))


def _opened(recipe: Resolved, processes: int) -> Task:
    """The task, with its data read as far as the first batch.

    Under the meta device, where models are built below, nothing could be read any more.
    """
    task = task_of(recipe)
    with closing(open_stream(task, Loading(), rank=0, world_size=processes, seed=0)) as stream:
        next(stream)
    return task


def _build(task: Task, recipes: Sequence[Resolved]) -> None:
    """Build the trainer of each seed, and model and optimizer as far as they can be without memory."""
    trainers = [recipe.trainer() for recipe in recipes]
    with suppress(NotImplementedError, RuntimeError):  # they look at numbers, which are not there
        optimizer_of(recipes[0], trainers[0], task, model_without_memory(task))
