"""What agents are as a whole: their mean, and how far they are from it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from graftwork_decentral.agents.bank import AgentBank
from graftwork_decentral.communication.communicator import Communicator


@torch.no_grad()
def mean_model(bank: AgentBank, communicator: Communicator, into: nn.Module) -> nn.Module:
    """Return the model whose weights, and floating-point buffers, are the means over all agents.

    Args:
        bank: the agents here.
        communicator: of the bank; every process must call this.
        into: a model like the agents', see :meth:`AgentBank.blank`.
    """
    bank.write(into, [communicator.mean(segment.weights) for segment in bank.segments])
    own = [list(model.buffers()) for model in bank.models]
    for index, buffer in enumerate(into.buffers()):
        values = [buffers[index] for buffers in own]
        if buffer.is_floating_point():
            buffer.copy_(communicator.mean(torch.stack(values)))
        else:
            buffer.copy_(values[0])
    return into


@torch.no_grad()
def distance_from_mean(rows: Iterable[Tensor], communicator: Communicator) -> float:
    """Return ``sqrt((1/n) sum_i ||x_i - mean||^2)`` over all agents.

    Args:
        rows: tensors ``[agents here, parameters]``; x_i is what agent i has in all of them.
        communicator: of these agents; every process must call this.

    >>> from graftwork_decentral import StackedCommunicator, full
    >>> distance_from_mean([torch.tensor([[1.0], [3.0]])], StackedCommunicator(full(2)))
    1.0
    """
    total = torch.zeros((), dtype=torch.float64, device=communicator.device)
    for tensor in rows:
        mean = communicator.mean(tensor)
        for row in tensor:
            total += (row - mean).double().square().sum()
    return float((communicator.sum(total) / len(communicator.living)).sqrt())
