"""A training's start from other weights: once, before its optimizer sees the model."""

from __future__ import annotations

from torch import nn

from graftwork import GraftworkError, Task
from graftwork_trainer.checkpoint import Checkpoints
from graftwork_trainer.checkpoint.ranks import gathered, together
from graftwork_trainer.progress import tell
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.task_members import facts_of
from graftwork_trainer.weights.files import open_files
from graftwork_trainer.weights.matching import Match, match
from graftwork_trainer.weights.places import find_place
from graftwork_trainer.weights.runs import open_run
from graftwork_trainer.weights.source import Place, Source
from graftwork_trainer.weights.taking import recorded, refuse_nothing, roundings, take, told

# Facts of the data by which rows of weights have their meaning.
_MEANINGS = {"tokenizer": "tokens", "head": "labels"}


def start_model(model: nn.Module, start_from: str | None, task: Task, run: RunDirectory) -> None:
    """Put other weights into a model whose training begins; every rank calls it.

    What was taken is told, and kept in the run's ``environment.json`` in full. Where the run goes on from a
    checkpoint of its own nothing is read, and nothing need be there.

    Args:
        model: as placed on its device, maybe spread over ranks.
        start_from: as the recipe says; None for what the run says, if anything.
        task: of the training.
        run: of the training.

    Raises:
        GraftworkError: there are no such weights, nothing of them fits, they are not numbers, or the task
            means other things by their rows.
    """
    chosen = start_from if start_from is not None else run.start_from
    if chosen is None:
        return
    if run.goes_on():
        run.note_again("start")
        return
    place = find_place(chosen)
    if place.path.resolve() == run.directory.resolve():
        raise GraftworkError(f"start_from {chosen}: is the run itself, which has nothing yet")
    while True:
        newest = _newest(place)
        try:
            source = _started(model, place, task)
            break
        except (GraftworkError, OSError):
            # One that is being trained removes checkpoints, also while they are read.
            if _newest(place) == newest:
                raise
    found = match(model, source.tensors)
    if run.main:
        run.note({"start": recorded(source, found)})
        tell(told(source, found, roundings(model, source, found)))


def describe_start(model: nn.Module, start_from: str | None, task: Task) -> list[str]:
    """What would be taken, as lines; nothing where a training starts from fresh weights.

    Args:
        model: on any device, the meta device too.
        start_from: as the recipe says.
        task: of the training.

    Raises:
        GraftworkError: as for :func:`start_model`.
    """
    if start_from is None:
        return []
    source = _opened(find_place(start_from))
    found = match(model, source.tensors)
    _refuse_other_meaning(source, found, task)
    refuse_nothing(model, source, found)
    return [told(source, found, roundings(model, source, found))]


def _started(model: nn.Module, place: Place, task: Task) -> Source:
    source = _opened(place)
    found = match(model, source.tensors)
    _refuse_other_meaning(source, found, task)
    refuse_nothing(model, source, found)
    try:
        together(lambda: take(model, source, found))
    except GraftworkError as error:
        raise GraftworkError(f"start_from {source.told}: {error}") from error
    return source


def _opened(place: Place) -> Source:
    if place.which:
        return open_run(place)
    opened: list[Source] = []
    together(lambda: opened.append(open_files(place)))
    return opened[0]


def _newest(place: Place) -> int:
    """The step of a run's newest checkpoint, the same on every rank."""
    steps = Checkpoints(place.path / "checkpoints").steps() if place.which else []
    return int(gathered(max(steps, default=0))[0])


def _refuse_other_meaning(source: Source, found: Match, task: Task) -> None:
    """Refuse weights whose rows stand for other tokens or labels than the task's: that goes wrong silently.

    Raises:
        GraftworkError: they do.
    """
    own = facts_of(task).get("data", {})
    for kind, rows in _MEANINGS.items():
        digest = f"{kind}_sha256"
        fact = digest if digest in own and digest in source.data else kind
        was, now = source.data.get(fact), own.get(fact)
        if kind == "head" and found.misfits:  # of another number of labels, which is told
            continue
        if was is not None and now is not None and was != now:
            raise GraftworkError(
                f"start_from {source.told}: its {fact} is {was!s:.40} and the task's is {now!s:.40}, so that "
                f"rows of its weights would stand for other {rows}; leave out what gives the task a {kind} "
                "of its own, or start from a .safetensors file that is meant to be used so"
            )
