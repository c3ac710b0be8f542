"""The faults of a run, as a recipe lists them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from graftwork import GraftworkError
from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.draws import checked_seed
from graftwork_decentral.faults.compressed import Compressed
from graftwork_decentral.faults.compressors import Compressor, EightBit, RandomK, ScaledSign, TopK
from graftwork_decentral.faults.delay_stability import validate_delay
from graftwork_decentral.faults.delayed import Delayed
from graftwork_decentral.faults.isolation import Isolation
from graftwork_decentral.faults.link_loss import LinkLoss
from graftwork_decentral.faults.wrapped import fixed_support
from graftwork_decentral.strategies.strategy import Strategy
from graftwork_decentral.topology.topology import GraphSequence

_LONGEST_SECONDS = 1e9
"""Some thirty years; what gloo cannot count any more is not far above."""


def has_memory(strategy: Strategy) -> bool:
    """Whether a strategy corrects by what it sums up over all steps, as exact diffusion and EXTRA do.

    >>> from graftwork_decentral.strategies import exact_diffusion, gt_atc
    >>> has_memory(exact_diffusion()), has_memory(gt_atc())
    (True, False)
    """
    return strategy.corrects_heterogeneity and not strategy.tracks


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, and what is done about it.

    Args:
        link_loss: probability of a link to be lost in a step, at least 0 and below 1.
        isolate: agents that are cut off for a while.
        isolate_from: the first step without them.
        isolate_to: the last step without them.
        delay: largest age, in steps, of what a link brings.
        compressor: what is sent instead of rows: none, top-k, random-k, sign or 8-bit.
        share: of the numbers that top-k and random-k send.
        gamma: how far to move towards the neighbours under compression; none for what suits the compressor.
        on_failure: whether the others stop or continue when a process is lost.
        timeout_seconds: after how long a process that does not answer counts as lost.
        seed: of all draws.

    Raises:
        ValueError: an option is outside its range.

    >>> from graftwork_decentral.topology import ring
    >>> Faults(link_loss=0.3).graphs(ring(8)).name
    'ring that loses 30% of its links'
    """

    link_loss: float = 0.0
    isolate: Sequence[int] = ()
    isolate_from: int = 0
    isolate_to: int = 0
    delay: int = 0
    compressor: Literal["none", "top-k", "random-k", "sign", "8-bit"] = "none"
    share: float = 0.1
    gamma: float | None = None
    on_failure: Literal["stop", "continue"] = "stop"
    timeout_seconds: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.link_loss < 1:
            raise ValueError(
                f"link_loss must be at least 0 and below 1, where no link is left, got {self.link_loss}"
            )
        if self.isolate:
            if min(self.isolate) < 0:
                raise ValueError(f"isolate must be numbers of agents, from 0, got {list(self.isolate)}")
            if not 0 <= self.isolate_from <= self.isolate_to:
                raise ValueError(
                    "isolate_from must be at least 0 and at most isolate_to, got "
                    f"{self.isolate_from} and {self.isolate_to}"
                )
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}")
        checked_seed(self.seed)
        if self.delay < 0:
            raise ValueError(f"delay must be at least 0, got {self.delay}")
        if self.gamma is not None and not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must be above 0 and at most 1, got {self.gamma}")
        if self.compressor not in ("none", "top-k", "random-k", "sign", "8-bit"):
            raise ValueError(
                f"compressor must be 'none', 'top-k', 'random-k', 'sign' or '8-bit', got {self.compressor!r}"
            )
        if not 0 < self.timeout_seconds <= _LONGEST_SECONDS:
            raise ValueError(
                f"timeout_seconds must be above 0 and at most {_LONGEST_SECONDS:g}, got "
                f"{self.timeout_seconds}"
            )
        if self.on_failure not in ("stop", "continue"):
            raise ValueError(f"on_failure must be 'stop' or 'continue', got {self.on_failure!r}")

    def graphs(self, graphs: GraphSequence) -> GraphSequence:
        """Return the graphs that are left of the given ones.

        Args:
            graphs: without faults.

        Raises:
            ValueError: an isolated agent is not there.
            GraftworkError: links are to fail in a graph that is not symmetric.
        """
        if self.link_loss:
            graphs = LinkLoss(graphs, self.link_loss, self.seed)
        if self.isolate:
            graphs = Isolation(
                graphs, list(self.isolate), first_step=self.isolate_from, last_step=self.isolate_to
            )
        return graphs

    def communicator(self, communicator: Communicator, strategy: Strategy | None = None) -> Communicator:
        """Return a communicator with compression and delay around the given one.

        Args:
            communicator: on the graphs of :meth:`graphs`.
            strategy: of the run, which decides on gamma where none is given.

        Raises:
            GraftworkError: the topology is not a fixed symmetric one, or mixing that old oscillates on it.
        """
        compressor = self.chosen_compressor()
        if compressor is not None:
            communicator = Compressed(communicator, compressor, self._gamma(compressor, strategy))
        return Delayed(communicator, self.delay, self.seed) if self.delay else communicator

    def validate(
        self, strategy: Strategy, graphs: GraphSequence, step_times_smoothness: float | None = None
    ) -> None:
        """Refuse faults with which a strategy diverges.

        Args:
            strategy: of the run.
            graphs: with or without faults.
            step_times_smoothness: step size times the largest curvature, where it is known.

        Raises:
            GraftworkError: values of that age, or a compression that is this coarse, make it diverge.
        """
        compressor = self.chosen_compressor()
        if compressor is not None and has_memory(strategy):
            most = compressor.gamma_with_memory
            if not most or (self.gamma or most) > most:
                cure = (
                    f"use faults.gamma = {most:g} or less" if most else "no gamma is known to be small enough"
                )
                raise GraftworkError(
                    f"strategy {strategy.name!r} diverges with faults.compressor = {self.compressor!r}: its "
                    f"correction sums up what compression leaves out; {cure}, or take '8-bit', or "
                    "gt-semi-atc, which tolerates it"
                )
        if self.delay:
            validate_delay(strategy, fixed_support(graphs, "faults.delay"), self.delay, step_times_smoothness)

    def validate_length(self, agents: int, steps: int | None) -> None:
        """Refuse what a run of this size never meets, or never gets out of.

        Args:
            agents: of the run.
            steps: that it takes; None where nobody knows.

        Raises:
            GraftworkError: an isolated agent is not there, nothing of the run lies before or within the
                isolation, agents are cut off in all of it, or no value can be as old as the delay.
        """
        if self.isolate and max(self.isolate) >= agents:
            raise GraftworkError(
                f"faults.isolate must be some of the agents 0..{agents - 1}, got {list(self.isolate)}"
            )
        if steps is None:
            return
        if self.delay >= steps:
            raise GraftworkError(
                f"faults.delay must be below trainer.steps = {steps}, as no value is older, got {self.delay}"
            )
        if not self.isolate:
            return
        if self.isolate_from >= steps:
            raise GraftworkError(
                f"faults.isolate_from must be below trainer.steps = {steps}, or nobody is cut off, got "
                f"{self.isolate_from}"
            )
        if agents > 1 and not self.isolate_from and self.isolate_to >= steps - 1:
            raise GraftworkError(
                f"faults.isolate = {list(self.isolate)} are cut off in all {steps} steps, so that they never "
                f"agree with others; give a later faults.isolate_from than 0, or an earlier "
                f"faults.isolate_to than {steps - 1}"
            )

    def _gamma(self, compressor: Compressor, strategy: Strategy | None) -> float:
        if self.gamma is not None:
            return self.gamma
        return compressor.gamma_with_memory if strategy and has_memory(strategy) else compressor.gamma

    def chosen_compressor(self) -> Compressor | None:
        """Return the compressor, or none."""
        if self.compressor == "top-k":
            return TopK(self.share)
        if self.compressor == "random-k":
            return RandomK(self.share, self.seed)
        if self.compressor == "sign":
            return ScaledSign()
        return EightBit() if self.compressor == "8-bit" else None
