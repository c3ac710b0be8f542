"""All agents in one process, as the rows of each tensor."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from graftwork_decentral.communication.communicator import Communicator, MixingPath
from graftwork_decentral.kernels.exact_diffusion import exact_diffusion_after_step
from graftwork_decentral.topology.topology import GraphSequence, Topology


class StackedCommunicator(Communicator):
    """Mixes within one process.

    Args:
        graphs: who exchanges with whom.
        path: how mixing is computed; auto takes the fastest that keeps the mean.
        device: of the tensors.

    >>> from graftwork_decentral.topology import full
    >>> communicator = StackedCommunicator(full(4))
    >>> communicator.mix(torch.tensor([[0.0], [1.0], [2.0], [5.0]]), step=0).flatten().tolist()
    [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(
        self, graphs: GraphSequence, *, path: MixingPath = "auto", device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(graphs, range(graphs.agents), path, torch.device(device))

    def fetch(self, payloads: Mapping[str, Tensor], topology: Topology) -> dict[str, Tensor]:
        return dict(payloads)

    def exact_diffusion(self, moved: Tensor, correction: Tensor, step: int) -> None:
        """Take the round of exact diffusion in place, by one fused operation.

        Args:
            moved: ``[agents, parameters]`` after the local move; written.
            correction: of the same shape, float32 at least; written.
            step: whose graph is used.
        """
        topology = self.graphs.at(step)
        matrix = self.plan(topology).dense.to(correction.dtype)
        exact_diffusion_after_step(moved, correction, matrix)
        self._count({"point": correction}, topology)

    def halo(self, topology: Topology) -> list[int]:
        return []

    def sum(self, value: Tensor) -> Tensor:
        return value
