"""The weights of agents as rows of one matrix, and each row as the weights of a model of its own.

Every agent has a whole model, whose trainable parameters are views into its row. So optimizers that look at a
tensor as a whole (wavelet, low-rank, norms, clipping) see what they would see alone, while a round mixes one
flat matrix instead of tensor after tensor.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graftwork_decentral.agents.untrained import validate_untrained

_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a parameter lies in a row.

    Args:
        name: in the model.
        start: its first column.
        shape: of the parameter.
    """

    name: str
    start: int
    shape: torch.Size

    def view(self, row: Tensor) -> Tensor:
        """Return this parameter's part of a row ``[parameters]``, in its shape."""
        return row[self.start : self.start + self.shape.numel()].view(self.shape)


@dataclass(frozen=True, eq=False, slots=True)
class Segment:
    """All trainable parameters of one dtype.

    Args:
        weights: ``[agents here, parameters]``; each parameter begins at a multiple of 64 bytes.
        slots: in the order of the model's parameters.
        parameters: for each agent its parameters, in the same order.
    """

    weights: Tensor
    slots: tuple[Slot, ...]
    parameters: tuple[tuple[nn.Parameter, ...], ...]

    def gradients(self) -> Tensor:
        """Return the gradients of all agents, ``[agents here, parameters]``; zero where there is none."""
        flat = torch.zeros_like(self.weights)
        for row, parameters in zip(flat, self.parameters, strict=True):
            for slot, parameter in zip(self.slots, parameters, strict=True):
                if parameter.grad is not None:
                    slot.view(row).copy_(parameter.grad)
        return flat

    def set_gradients(self, flat: Tensor) -> None:
        """Put rows of directions into ``.grad``, as views."""
        for row, parameters in zip(flat, self.parameters, strict=True):
            for slot, parameter in zip(self.slots, parameters, strict=True):
                parameter.grad = slot.view(row)


class AgentBank:
    """The models of the agents in this process.

    Args:
        models: one an agent, alike in structure and in what they do not train; their trainable parameters are
            moved into the bank's rows.

    Raises:
        ValueError: there is none, they differ, one has nothing to train, or two share a parameter.

    >>> bank = AgentBank([nn.Linear(2, 1) for _ in range(3)])
    >>> bank.segments[0].weights.shape[0], bank.models[1].weight.shape
    (3, torch.Size([1, 2]))
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        if not models:
            raise ValueError("models must be at least one")
        trained = [
            {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
            for model in models
        ]
        shapes = [{name: (p.shape, p.dtype) for name, p in parameters.items()} for parameters in trained]
        if not trained[0]:
            raise ValueError("models must have trainable parameters, and these have none")
        for agent, other in enumerate(shapes):
            if other != shapes[0]:
                odd = min(name for name, _ in other.items() ^ shapes[0].items())
                raise ValueError(
                    f"models must be alike in the names, shapes and dtypes of what they train; model {agent} "
                    f"differs from model 0 at {odd!r}"
                )
        if len({id(p) for parameters in trained for p in parameters.values()}) != len(models) * len(
            trained[0]
        ):
            raise ValueError("models must not share parameters: each agent trains its own")
        validate_untrained(models)
        self.models = tuple(models)
        self.segments = tuple(
            _segment([{name: p for name, p in one.items() if p.dtype == dtype} for one in trained])
            for dtype in dict.fromkeys(p.dtype for p in trained[0].values())
        )

    def __len__(self) -> int:
        return len(self.models)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.segments[0].weights.device

    @torch.no_grad()
    def write(self, model: nn.Module, rows: Sequence[Tensor]) -> nn.Module:
        """Put one row of every segment into a model of the same structure.

        Args:
            model: takes the weights.
            rows: one ``[parameters]`` for each segment.
        """
        parameters = dict(model.named_parameters())
        for segment, row in zip(self.segments, rows, strict=True):
            for slot in segment.slots:
                parameters[slot.name].copy_(slot.view(row))
        return model

    def blank(self) -> nn.Module:
        """Return a model like the agents', with the first one's weights, apart from the bank."""
        return copy.deepcopy(self.models[0])

    def columns(self) -> list[Tensor]:
        """Return each segment's mask ``[parameters]`` of columns that hold a parameter and are no padding."""
        masks = []
        for segment in self.segments:
            mask = torch.zeros(segment.weights.shape[1], dtype=torch.bool, device=segment.weights.device)
            for slot in segment.slots:
                slot.view(mask).fill_(True)
            masks.append(mask)
        return masks


@torch.no_grad()
def _segment(trained: Sequence[dict[str, nn.Parameter]]) -> Segment:
    first = next(iter(trained[0].values()))
    unit = max(_ALIGNMENT // first.element_size(), 1)
    slots, end = [], 0
    for name, parameter in trained[0].items():
        slots.append(Slot(name, end, parameter.shape))
        end += -(-parameter.numel() // unit) * unit
    weights = torch.zeros(len(trained), end, dtype=first.dtype, device=first.device)
    for row, parameters in zip(weights, trained, strict=True):
        for slot, parameter in zip(slots, parameters.values(), strict=True):
            slot.view(row).copy_(parameter)
            parameter.data = slot.view(row)
    return Segment(weights, tuple(slots), tuple(tuple(parameters.values()) for parameters in trained))
