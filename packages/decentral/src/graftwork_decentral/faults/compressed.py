"""Compressed messages with error feedback: what was not sent is in the next difference.

All who know an agent keep the same public copy of its row. A round sends the compressed difference to it::

    q_i = compress(x_i - copy_i);     copy_i += q_i  (everywhere)
    mix(x)_i = x_i + gamma sum_j w_ij (copy_j - copy_i)

which is CHOCO-Gossip (arXiv:1902.00340, algorithm 1). The mean over agents is kept whatever is lost in
compression, and where agents agree copies come to agree with them, so that nothing is biased. With exact
diffusion it resembles LEAD (arXiv:2007.00232).

Differences travel over every link of the fixed graph: a copy that missed one would be wrong for ever. Where
links fail at random besides, a lost one takes no part in the mixing of that step, and its difference arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.faults.compressors import Compressor
from graftwork_decentral.faults.wrapped import WrappedCommunicator


class Compressed(WrappedCommunicator):
    """A communicator whose messages are compressed.

    Args:
        inner: that does the sending; no :class:`~.delayed.Delayed`, which goes around this one.
        compressor: of rows.
        gamma: how far to move towards the neighbours' copies; none for what suits the compressor.

    Raises:
        ValueError: gamma is outside 0..1, or ``inner`` is another such communicator.
        GraftworkError: the topology is not a fixed symmetric one whose links may fail.

    >>> from graftwork_decentral.communication import StackedCommunicator
    >>> from graftwork_decentral.faults.compressors import EightBit
    >>> from graftwork_decentral.topology import full
    >>> communicator = Compressed(StackedCommunicator(full(4)), EightBit())
    >>> values = torch.tensor([[0.0], [1.0], [2.0], [5.0]])
    >>> [round(value, 2) for value in communicator.mix(values, 0).flatten().tolist()]
    [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, inner: Communicator, compressor: Compressor, gamma: float | None = None) -> None:
        if isinstance(inner, WrappedCommunicator):
            raise ValueError("inner must be the communicator itself: delay goes around compression")
        chosen = compressor.gamma if gamma is None else gamma
        if not 0 < chosen <= 1:
            raise ValueError(f"gamma must be above 0 and at most 1, got {chosen}")
        super().__init__(inner, "faults.compressor")
        self.compressor, self._gain = compressor, chosen
        self._copies: dict[str, Tensor] = {}

    @property
    def gain(self) -> float:
        return self._gain

    def views(self, payloads: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        here, m = list(self.rows), len(self.rows)
        agents = [*here, *self.halo(self._fixed)]
        messages = {}
        for channel, value in payloads.items():
            flat = value.flatten(1)
            if channel not in self._copies:
                kind = torch.promote_types(value.dtype, torch.float32)
                self._copies[channel] = flat.new_zeros(len(agents), flat.shape[1], dtype=kind)
            messages[channel] = self.compressor.encode(flat - self._copies[channel][:m], here, step)
        arrived = self.inner.known(messages, self._fixed, step)
        views = {}
        for channel, value in payloads.items():
            copies = self._copies[channel]
            copies += self.compressor.decode(arrived[channel], agents, step, copies.shape[1])
            views[channel] = copies.reshape(len(agents), *value.shape[1:])
        return views

    def remembered(self) -> dict[str, Any]:
        return dict(self._copies)

    def remember(self, tensors: Mapping[str, Any]) -> None:
        # Copied: they are updated in place.
        self._copies = {channel: copies.to(self.device, copy=True) for channel, copies in tensors.items()}

    def forget(self) -> None:
        self._copies = {}
