"""``graftwork train --dry-run``: everything checked, the model built without memory, sizes estimated."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from graftwork.resolution import Resolved
from graftwork_trainer.timing import state_bytes

_MEBIBYTE = 2**20


def describe(resolved: Resolved) -> str:
    """Parameters and memory of a recipe, found on torch's meta device.

    Activations are left out: they depend on the batch and on what autograd keeps.
    """
    trainer = resolved.trainer()
    task = resolved.task()
    with torch.device("meta"):
        model = task.build_model()
    optimizer_choice = resolved.trainer.options["optimizer"]
    optimizer: torch.optim.Optimizer = optimizer_choice.for_model(
        model, total_steps=getattr(trainer, "steps", None)
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    lines = [resolved.to_toml(), f"parameters       {_count(model.parameters()):,}"]
    if _count(trained) < _count(model.parameters()):
        lines.append(f"trained          {_count(trained):,}")
    lines.append(f"weights          {_bytes(model.parameters()) / _MEBIBYTE:,.1f} MiB")
    if getattr(optimizer, "closure", None) != "loss":
        lines.append(f"gradients        {_bytes(trained) / _MEBIBYTE:,.1f} MiB")
    if not optimizer.state and getattr(optimizer, "closure", None) is None:
        # torch's own optimizers make their state in the first step.
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    lines.append(f"optimizer state  {state_bytes(optimizer) / _MEBIBYTE:,.1f} MiB")
    lines.append("not counted      activations")
    return "\n".join(lines)


def _count(parameters: Iterable[torch.Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _bytes(parameters: Iterable[torch.Tensor]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)
