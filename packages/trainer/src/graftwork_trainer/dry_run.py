"""``graftwork train --dry-run``: everything checked, the model built without memory, sizes and data told."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graftwork import GraftworkError, Task
from graftwork.errors import OptionError
from graftwork.resolution import Resolved
from graftwork_trainer.assets import start_of, task_of
from graftwork_trainer.claim import claimed, new_directory
from graftwork_trainer.data.opening import open_stream
from graftwork_trainer.data.source import has_dataset
from graftwork_trainer.data.workers import Loading
from graftwork_trainer.device import choose_device
from graftwork_trainer.failure import told_failure
from graftwork_trainer.option_mistakes import refusals_told_together
from graftwork_trainer.options import GradientOptions, LoopOptions
from graftwork_trainer.parallel import launched_by_torchrun
from graftwork_trainer.rehearsal import take_first_step
from graftwork_trainer.resumption import folder_of, has_begun, resumption_of, task_that_goes_on
from graftwork_trainer.stages import refuse_other_stages
from graftwork_trainer.step_rule import refuse_unsaid_closure
from graftwork_trainer.task_members import facts_of, model_of, parameter_groups_of
from graftwork_trainer.timing import state_bytes
from graftwork_trainer.weights import describe_start

_MEBIBYTE = 2**20
# Of weights, gradients and optimizer state, beyond which a dry run does not train.
_LARGE = 256 * _MEBIBYTE


def describe(
    resolved: Resolved,
    directory: Path | None = None,
    *,
    resume: bool = False,
    allow: Collection[str] = (),
) -> str:
    """Sizes of a recipe, found on torch's meta device, and of its data; refused is what its training would.

    Activations are left out: they depend on the batch and on what autograd keeps. Of a model that is not
    large the first step is taken, see :mod:`graftwork_trainer.rehearsal`.

    Args:
        resolved: checked.
        directory: of the run; None for a new one.
        resume: whether the run in it is to go on. Where it has a checkpoint its first step has been taken.
        allow: what may then be another than in its newest checkpoint.

    Raises:
        GraftworkError: what the training would end with before its first step, or in it.
    """
    stages = resolved.stages or (resolved,)
    lines = []
    taken = _taken(directory or new_directory(resolved.name), resume=resume)
    with refusals_told_together(resolved), taken as place:
        if resume:
            refuse_other_stages(place, resolved)
        for number, stage in enumerate(stages, start=1):
            folder = folder_of(stage, resolved, place) if resume else place
            try:
                told = "\n".join(_lines(stage, folder, resume=resume, allow=allow))
            except GraftworkError as error:
                if not resolved.stages or isinstance(error, OptionError):
                    raise
                raise GraftworkError(f"stage {stage.name!r}: {error}") from error
            head = f"# stage {number} of {len(stages)}: {stage.name}\n\n" if resolved.stages else ""
            lines.append(f"{head}{told}")
    return "\n\n".join(lines)


def _lines(resolved: Resolved, directory: Path, *, resume: bool, allow: Collection[str]) -> Iterator[str]:
    """What there is to say of one training."""
    trainer = resolved.trainer()
    begun = resume and has_begun(directory)
    task = task_that_goes_on(resolved, directory) if begun else task_of(resolved)
    yield resolved.to_toml()
    yield from _extras(resolved)
    with told_failure(resolved, task, trainer, directory):
        if begun:
            yield from resumption_of(resolved, task, directory, allow)
        yield from _checked(resolved, trainer, task, directory, begun=begun)


def _checked(resolved: Resolved, trainer: Any, task: Task, directory: Path, *, begun: bool) -> Iterator[str]:
    """Sizes and data, and that the first step can be taken."""
    if isinstance(loop := getattr(trainer, "loop", None), LoopOptions):
        choose_device(loop.device)
    try:
        model = model_without_memory(task)
    except (NotImplementedError, RuntimeError) as error:  # it looks at numbers, which are not there
        yield f"sizes            not known: {error}"
        yield from _of_data(trainer, task)
        yield from _first_step(resolved, task, begun=begun)
        return
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    yield f"parameters       {_count(model.parameters()):,}"
    if _count(trained) < _count(model.parameters()):
        yield f"trained          {_count(trained):,}"
    yield f"weights          {_bytes(model.parameters()) / _MEBIBYTE:,.1f} MiB"
    optimizer = None
    try:
        optimizer = optimizer_of(resolved, trainer, task, model)
        if optimizer is not None:
            yield from _of_optimizer(optimizer, trained)
    except (NotImplementedError, RuntimeError) as error:  # as above; the first step tells one from a fault
        yield f"optimizer state  not known: {error}"
    yield "not counted      activations"
    yield from _of_data(trainer, task)
    if not begun:
        yield from describe_start(model, start_of(resolved), task)
    needed = _bytes(model.parameters()) + (0 if optimizer is None else state_bytes(optimizer))
    _refuse_full_disk(needed, getattr(loop, "keep_checkpoints", 0), directory)
    if needed + _bytes(trained) > _LARGE:
        yield f"first step       not tried, as the model is larger than {_LARGE / _MEBIBYTE:.0f} MiB"
    else:
        yield from _first_step(resolved, task, begun=begun)


def _first_step(resolved: Resolved, task: Task, *, begun: bool) -> Iterator[str]:
    """Take it, where there is to be one, and one process takes it alone."""
    if not begun and not launched_by_torchrun() and take_first_step(resolved, task):
        yield "first step       nothing is in its way"


@contextmanager
def _taken(directory: Path, *, resume: bool) -> Iterator[Path]:
    """Take a directory as the training would, and leave nothing of it."""
    made = [one for one in (directory, *directory.parents) if not one.exists()]
    try:
        with claimed(directory, resume=resume):
            yield directory
    finally:
        for one in made:
            with suppress(OSError):  # somebody else uses it by now
                one.rmdir()


def _refuse_full_disk(checkpoint: int, kept: int, directory: Path) -> None:
    """Refuse a disk without room for the checkpoints that stay and the one that is written.

    Args:
        checkpoint: bytes of one.
        kept: how many stay.
        directory: of the run.

    Raises:
        GraftworkError: there is not.
    """
    if launched_by_torchrun():  # of several processes the first alone has the directory
        return
    there = next(one for one in (directory, *directory.absolute().parents) if one.exists())
    needed, free = checkpoint * (kept + 1), shutil.disk_usage(there).free
    if kept and needed > free:
        raise GraftworkError(
            f"{directory}: {free / _MEBIBYTE:,.0f} MiB are free, and {kept + 1} checkpoints (those that "
            f"stay, and the one that is being written) need {needed / _MEBIBYTE:,.0f}; lower "
            "trainer.keep_checkpoints, or name a directory on another disk with --out"
        )


def _of_data(trainer: Any, task: Task) -> Iterator[str]:
    """What the task says of its data, and how long the training is in steps and epochs.

    The first batch is drawn, which opens the data.
    """
    for name, value in facts_of(task).get("data", {}).items():
        if not name.endswith("sha256"):
            yield f"{name.replace('_', ' '):<16} {f'{value:,}' if type(value) is int else value}"
    steps = _steps(trainer, task)
    if steps is not None:
        yield f"steps            {steps:,}"
    loop = getattr(trainer, "loop", None)
    if not isinstance(loop, GradientOptions) or not (hasattr(task, "batches") or has_dataset(task)):
        return
    workers = getattr(trainer, "workers", 1)
    with closing(open_stream(task, Loading(), rank=0, world_size=workers, seed=loop.seed)) as stream:
        next(stream)
        per_epoch = stream.per_epoch
    if steps is not None and per_epoch is not None:
        per_epoch /= loop.accumulate
        yield f"epochs           {float(steps / per_epoch):,.4g}, each of {float(per_epoch):,.6g} steps"


def model_without_memory(task: Task) -> nn.Module:
    """A task's model on torch's meta device.

    Raises:
        NotImplementedError, RuntimeError: it cannot be built there, since it looks at numbers.
    """
    with torch.device("meta"):
        return model_of(task)


def optimizer_of(
    resolved: Resolved, trainer: Any, task: Task, model: nn.Module
) -> torch.optim.Optimizer | None:
    """The recipe's optimizer over a model; None where the trainer has a method of its own instead."""
    choice = resolved.trainer.options.get("optimizer")
    if choice is None:
        return None
    groups = parameter_groups_of(task, model)
    optimizer: torch.optim.Optimizer = choice.for_model(model, groups, total_steps=_steps(trainer, task))
    return optimizer


def _steps(trainer: Any, task: Task) -> int | None:
    """How many steps a trainer takes in one process; None where it does not know, or say."""
    steps: int | None = trainer.total_steps(task) if hasattr(trainer, "total_steps") else None
    return steps


def _extras(resolved: Resolved) -> Iterator[str]:
    """What takes part and needs more than its package's own requirements."""
    for choice in resolved.choices():
        for extra in choice.entry.component.extras:
            yield f"{choice.entry.component.reference} {extra.description}"


def _of_optimizer(optimizer: torch.optim.Optimizer, trained: Sequence[torch.nn.Parameter]) -> Iterator[str]:
    if getattr(optimizer, "closure", None) != "loss":
        yield f"gradients        {_bytes(trained) / _MEBIBYTE:,.1f} MiB"
    refuse_unsaid_closure(optimizer)
    if not optimizer.state and getattr(optimizer, "closure", None) is None:
        # torch's own optimizers make their state in the first step.
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        for group in optimizer.param_groups:
            if group.get("fused"):  # which there is not on meta; the state is the same
                group["fused"] = False
        optimizer.step()
    yield f"optimizer state  {state_bytes(optimizer) / _MEBIBYTE:,.1f} MiB"


def _count(parameters: Iterable[torch.Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _bytes(parameters: Iterable[torch.Tensor]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)
