"""``graftwork train --dry-run``: everything checked, the model built without memory, sizes estimated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from graftwork import Task
from graftwork.resolution import Resolved
from graftwork_trainer.assets import start_of, task_of
from graftwork_trainer.task_members import parameter_groups_of
from graftwork_trainer.timing import state_bytes
from graftwork_trainer.weights import describe_start

_MEBIBYTE = 2**20


def describe(resolved: Resolved) -> str:
    """Parameters and memory of a recipe, found on torch's meta device.

    Activations are left out: they depend on the batch and on what autograd keeps.
    """
    if resolved.stages:
        count = len(resolved.stages)
        return "\n\n".join(
            f"# stage {number} of {count}: {stage.name}\n\n{describe(stage)}"
            for number, stage in enumerate(resolved.stages, start=1)
        )
    trainer = resolved.trainer()
    task = task_of(resolved)
    try:
        model = model_without_memory(task)
    except (NotImplementedError, RuntimeError) as error:  # it looks at numbers, which are not there
        return "\n".join([resolved.to_toml(), *_extras(resolved), f"sizes            not known: {error}"])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    lines = [resolved.to_toml(), *_extras(resolved), f"parameters       {_count(model.parameters()):,}"]
    if _count(trained) < _count(model.parameters()):
        lines.append(f"trained          {_count(trained):,}")
    lines.append(f"weights          {_bytes(model.parameters()) / _MEBIBYTE:,.1f} MiB")
    if (steps := _steps(trainer, task)) is not None:
        lines.append(f"steps            {steps:,}")
    optimizer = optimizer_of(resolved, trainer, task, model)
    if optimizer is not None:
        lines += _of_optimizer(optimizer, trained)
    lines.append("not counted      activations")
    lines += describe_start(model, start_of(resolved), task)
    return "\n".join(lines)


def model_without_memory(task: Task) -> nn.Module:
    """A task's model on torch's meta device.

    Raises:
        NotImplementedError, RuntimeError: it cannot be built there, since it looks at numbers.
    """
    with torch.device("meta"):
        model: nn.Module = task.build_model()
    return model


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
