"""Evaluating a task's model: its mode, batches spread over ranks, rows brought back in order.

A task that gives rows is evaluated exactly: its metrics see every example once, in one order, on however many
processes the rows were computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork.plugin_code import said_by
from graftwork_trainer.data.held_out import own_batches
from graftwork_trainer.data.workers import Loading
from graftwork_trainer.device import move
from graftwork_trainer.parallel import World, forget_gathered

Columns = dict[str, Any]
"""Column name to a tensor or list with an entry per example."""


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights are; the CPU where it has none."""
    return next((tensor.device for tensor in model.parameters()), torch.device("cpu"))


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluate without gradients and with every module in evaluation mode; then restore each one's own."""
    with modules_in_evaluation_mode(model), torch.no_grad():
        yield


@contextmanager
def modules_in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode, and then back in its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def kept_as_shown(model: nn.Module) -> Iterator[None]:
    """Have a model hold by itself, behind the block, the weights that it shows before it.

    An optimizer in its evaluation mode may have others shown in their place (LOZO, whose movement lies beside
    them), which end with that mode. What cannot be written (quantized weights) stays as it is.
    """
    shown = {
        name: value.detach().clone()
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }
    yield
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = shown.get(name)
            if type(value) is type(parameter.data) and value.dtype == parameter.dtype:
                parameter.copy_(value)


def evaluate(
    task: Any,
    model: nn.Module,
    split: str = "validation",
    *,
    world: World | None = None,
    forward: AbstractContextManager[Any] | None = None,
    loading: Loading | None = None,
) -> dict[str, float]:
    """Return a task's metrics on held-out data; every rank of the world calls it and gets the same.

    Args:
        task: see :class:`graftwork.Task`.
        model: not wrapped; its modules' modes are restored.
        split: of the task's data; another than ``validation`` only of tasks that give rows.
        world: the processes that share the work; this one alone where it is left out.
        forward: what the model is run in (autocast); ``metrics`` of rows are computed outside.
        loading: how samples of a dataset are loaded; in this process where it is left out.

    Raises:
        GraftworkError: rows do not fit together, metrics are no numbers, or the evaluation failed on another
            rank.
    """
    world = world or World.alone(device_of(model))
    with evaluation_mode(model):
        if hasattr(task, "evaluate_rows"):
            with forward or nullcontext():
                rows = rows_of(task, model, split, world=world, loading=loading)
            metrics = _on_rank_0(lambda: task.metrics(rows), world)
        elif split != "validation":
            raise GraftworkError(
                f"{type(task).__name__} evaluates its validation data alone, not {split!r}: that needs "
                "evaluate_rows and metrics"
            )
        elif world.strategy == "fsdp":  # every rank takes part in each forward pass
            with forward or nullcontext(), _ending_all(world):
                own = task.evaluate(model)
            metrics = _on_rank_0(lambda: own, world)
        else:
            with forward or nullcontext():
                metrics = _on_rank_0(lambda: task.evaluate(model), world)
        forget_gathered(model)
    return metrics


def rows_of(
    task: Any,
    model: nn.Module,
    split: str,
    *,
    world: World | None = None,
    loading: Loading | None = None,
) -> Columns:
    """Return the rows of every example of a part, in order, on rank 0; nothing on the others.

    Args:
        task: has ``evaluate_rows``.
        model: in evaluation mode.
        split: of the task's data.
        world: the processes that share the work; this one alone where it is left out.
        loading: how samples of a dataset are loaded; in this process where it is left out.

    Raises:
        GraftworkError: rows do not fit together, there are none, or another rank failed.
    """
    world = world or World.alone(device_of(model))
    own: dict[int, Columns] | str = {}
    problem: Exception | None = None
    try:
        with _ending_all(world):
            own = dict(_own_rows(task, model, split, world, loading))
    except Exception as error:
        if world.size == 1 or world.strategy == "fsdp":
            raise
        kind = "" if isinstance(error, GraftworkError) else f"{type(error).__name__}: "
        problem, own = error, f"{kind}{error}"
    pieces: list[Any] = [own]
    if world.size > 1:
        pieces = [None] * world.size
        dist.all_gather_object(pieces, own)
    failed = [f"rank {rank}: {piece}" for rank, piece in enumerate(pieces) if isinstance(piece, str)]
    if failed:
        raise GraftworkError(f"the evaluation failed on {'; '.join(failed)}") from problem
    if world.rank:
        return {}
    numbered = {number: rows for piece in pieces for number, rows in piece.items()}
    if not numbered:
        raise GraftworkError(f"there is nothing to evaluate: batches({split!r}, ...) gave no batch")
    return _in_order([numbered[number] for number in sorted(numbered)])


@contextmanager
def _ending_all(world: World) -> Iterator[None]:
    """Under FSDP, end with a sentence at once: the others wait for this rank in a pass of the model."""
    try:
        yield
    except Exception as error:
        if world.strategy != "fsdp":
            raise
        raise GraftworkError(
            f"the evaluation failed on rank {world.rank}: {type(error).__name__}: {said_by(error)}"
        ) from error


def _own_rows(
    task: Any, model: nn.Module, split: str, world: World, loading: Loading | None
) -> Iterator[tuple[int, Columns]]:
    for number, batch in own_batches(task, split, world, loading or Loading()):
        rows = task.evaluate_rows(model, move(batch, world.device))
        if number is not None:
            columns = {name: _kept(column) for name, column in rows.items()}
            lengths = {name: len(column) if _has_length(column) else 0 for name, column in columns.items()}
            if len(set(lengths.values())) != 1 or not all(map(_has_length, columns.values())):
                raise GraftworkError(
                    f"evaluate_rows of {type(task).__name__} must give an entry per example in every column, "
                    f"got {', '.join(f'{count} of {name!r}' for name, count in lengths.items()) or 'none'}"
                )
            yield number, columns


def _has_length(column: Any) -> bool:
    return isinstance(column, list) or column.ndim > 0


def _kept(column: Any) -> Any:
    """A column on the CPU; copied, since a task may use its memory again."""
    return column.detach().to("cpu", copy=True) if isinstance(column, Tensor) else list(column)


def _in_order(pieces: Sequence[Columns]) -> Columns:
    """The columns of all batches, sorted by ``sample`` where they have it, each sample once."""
    columns = {
        name: _joined(name, [piece.get(name) for piece in pieces]) for piece in pieces for name in piece
    }
    if "sample" not in columns:
        return columns
    numbers = torch.as_tensor(columns["sample"])
    if numbers.ndim != 1 or numbers.is_floating_point():
        raise GraftworkError("the column 'sample' of evaluate_rows must hold a whole number for each example")
    first_place: dict[int, int] = {}
    for place, sample in enumerate(numbers.tolist()):
        first_place.setdefault(sample, place)
    order = [first_place[sample] for sample in sorted(first_place)]
    return {
        name: column[order] if isinstance(column, Tensor) else [column[place] for place in order]
        for name, column in columns.items()
    }


def _joined(name: str, parts: Sequence[Any]) -> Any:
    """One column of all batches."""
    kinds = {type(part) for part in parts}
    shapes = {part.shape[1:] for part in parts if isinstance(part, Tensor)}
    if len(kinds) > 1 or len(shapes) > 1:
        raise GraftworkError(
            f"the column {name!r} of evaluate_rows must be alike in all batches: a tensor of one trailing "
            "shape, or a list"
        )
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return list(itertools.chain.from_iterable(parts))


def _numbers(metrics: Any) -> dict[str, float]:
    """Metrics as plain numbers.

    Raises:
        GraftworkError: they are none.
    """
    try:
        return {str(name): float(value) for name, value in metrics.items() if not isinstance(value, str)}
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise GraftworkError(
            f"an evaluation must give numbers by their names, got {metrics!r:.200} ({error})"
        ) from error


def _on_rank_0(measure: Callable[[], Any], world: World) -> dict[str, float]:
    """Measure on rank 0 and let every rank know, also how it failed, so that none waits for one that did."""
    if world.size == 1:
        return _numbers(measure())
    answer: list[Any] = [None, None]
    problem: Exception | None = None
    if world.rank == 0:
        try:
            answer[0] = _numbers(measure())
        except Exception as error:
            problem, answer[1] = error, f"{type(error).__name__}: {said_by(error)}"
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise GraftworkError(f"the evaluation failed on rank 0: {answer[1]}") from problem
    return dict(answer[0])
