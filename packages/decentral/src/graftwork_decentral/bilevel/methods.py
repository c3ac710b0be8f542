"""The bilevel methods by name, each a function of a problem and a communicator.

Kind ``bilevel-method``: ``target(problem, communicator, settings, upper_start, lower_start, **options)``
returns a :class:`~.problem.BilevelMethod`.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from graftwork import Choice, choose
from graftwork_decentral import strategies
from graftwork_decentral.bilevel.level import Track
from graftwork_decentral.bilevel.ma_dsbo import MovingAverageDoubleLoop
from graftwork_decentral.bilevel.mdbo import MomentumBilevel
from graftwork_decentral.bilevel.problem import BilevelProblem, BilevelSettings
from graftwork_decentral.bilevel.sparkle import Sparkle
from graftwork_decentral.communication import Communicator
from graftwork_decentral.strategies import Strategy
from graftwork_decentral.strategies.strategy import Lazy
from graftwork_decentral.topology import GraphSequence, full

StrategyOption = Choice | Strategy | str
GraphOption = Choice | GraphSequence


def sparkle(
    problem: BilevelProblem,
    communicator: Communicator,
    settings: BilevelSettings,
    upper_start: Tensor,
    lower_start: Tensor,
    *,
    lower: Annotated[StrategyOption, "strategy"] = "exact-diffusion",
    auxiliary: Annotated[StrategyOption | None, "strategy"] = None,
    upper: Annotated[StrategyOption | None, "strategy"] = None,
    lower_graph: Annotated[GraphOption | None, "topology"] = None,
    auxiliary_graph: Annotated[GraphOption | None, "topology"] = None,
    upper_graph: Annotated[GraphOption | None, "topology"] = None,
    track: Track = "scaled",
    lazy: Lazy = "auto",
) -> Sparkle:
    """SPARKLE with a strategy and a graph of its own at every level.

    Args:
        problem: the losses of one agent.
        communicator: which agents are here, and how they exchange.
        settings: steps and order.
        upper_start: ``[upper variables]``.
        lower_start: ``[lower variables]``.
        lower: strategy of the lower variables.
        auxiliary: strategy of the auxiliary variables; that of the lower ones unless given.
        upper: strategy of the upper variables; that of the lower ones unless given.
        lower_graph: topology of the lower variables; the run's unless given.
        auxiliary_graph: topology of the auxiliary variables; that of the lower ones unless given.
        upper_graph: topology of the upper variables; the run's unless given.
        track: whether strategies remember directions times the step (scaled) or as they are (raw).
        lazy: auto makes weights lazy where a strategy would diverge; never refuses such graphs.
    """
    return Sparkle(
        problem,
        communicator,
        lower=_strategy(lower),
        auxiliary=None if auxiliary is None else _strategy(auxiliary),
        upper=None if upper is None else _strategy(upper),
        lower_graph=_graph(lower_graph, communicator),
        auxiliary_graph=_graph(auxiliary_graph, communicator),
        upper_graph=_graph(upper_graph, communicator),
        track=track,
        lazy=lazy,
        upper_start=upper_start,
        lower_start=lower_start,
        dtype=upper_start.dtype,
        **_of(settings),
    )


def d_soba(
    problem: BilevelProblem,
    communicator: Communicator,
    settings: BilevelSettings,
    upper_start: Tensor,
    lower_start: Tensor,
) -> Sparkle:
    """D-SOBA (arXiv:2402.03167, as reported): the same step without a correction of heterogeneity.

    Args:
        problem: the losses of one agent.
        communicator: which agents are here, and how they exchange.
        settings: steps and order.
        upper_start: ``[upper variables]``.
        lower_start: ``[lower variables]``.
    """
    return _uniform(
        "D-SOBA", strategies.diffusion(), problem, communicator, settings, upper_start, lower_start
    )


def sldbo(
    problem: BilevelProblem,
    communicator: Communicator,
    settings: BilevelSettings,
    upper_start: Tensor,
    lower_start: Tensor,
    *,
    auxiliary_radius: float | None = None,
) -> Sparkle:
    """SLDBO (arXiv:2311.08945, as reported): gradient tracking at all levels, in one loop.

    Published are a single loop of the SOBA kind with all directions at the old point, gradient tracking and a
    projection of the auxiliary variables. Which of its three orders tracking has there could not be
    established, and it is non-ATC here. The moving average of the settings applies; the published method has
    none (theta = 1).

    Args:
        problem: the losses of one agent.
        communicator: which agents are here, and how they exchange.
        settings: steps; the order is jacobi whatever it says.
        upper_start: ``[upper variables]``.
        lower_start: ``[lower variables]``.
        auxiliary_radius: of the ball that the auxiliary variables are projected into; none for no projection.
    """
    options = {"auxiliary_radius": auxiliary_radius, "order": "jacobi"}
    strategy = strategies.gt_non_atc()
    return _uniform("SLDBO", strategy, problem, communicator, settings, upper_start, lower_start, **options)


def centralized(
    problem: BilevelProblem,
    communicator: Communicator,
    settings: BilevelSettings,
    upper_start: Tensor,
    lower_start: Tensor,
) -> Sparkle:
    """The same step with everything averaged over all agents each time, whatever the graph.

    Args:
        problem: the losses of one agent.
        communicator: which agents are here; they exchange with all others.
        settings: steps and order.
        upper_start: ``[upper variables]``.
        lower_start: ``[lower variables]``.
    """
    everyone = communicator.on(full(communicator.agents))
    return _uniform(
        "centralized", strategies.diffusion(), problem, everyone, settings, upper_start, lower_start
    )


ma_dsbo_gt = MovingAverageDoubleLoop
mdbo = MomentumBilevel


def _uniform(
    name: str,
    strategy: Strategy,
    problem: BilevelProblem,
    communicator: Communicator,
    settings: BilevelSettings,
    upper_start: Tensor,
    lower_start: Tensor,
    **options: Any,
) -> Sparkle:
    return Sparkle(
        problem,
        communicator,
        lower=strategy,
        upper_start=upper_start,
        lower_start=lower_start,
        dtype=torch.promote_types(upper_start.dtype, lower_start.dtype),
        name=name,
        **{**_of(settings), **options},
    )


def _of(settings: BilevelSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__slots__}


def _strategy(option: StrategyOption) -> Strategy:
    if isinstance(option, Strategy):
        return option
    made: Strategy = choose("strategy", option)() if isinstance(option, str) else option()
    return made


def _graph(option: GraphOption | None, communicator: Communicator) -> GraphSequence | None:
    if isinstance(option, Choice):
        made: GraphSequence = option(agents=communicator.agents)
        return made
    return option
