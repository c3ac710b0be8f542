"""A strategy and a topology of a user's own: a dozen lines in a plugin, found by name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from graftwork.registry import Registry
from graftwork.testing import write_plugin

PLUGIN = """
from graftwork import Component, hookimpl
from graftwork_decentral.strategies import Strategy
from graftwork_decentral.topology import Topology, from_edges

def damped():
    return Strategy("damped", a=(0.0, 1.0), b_squared=(0.5, -0.5), c=(0.0, 1.0), needs_symmetric=True)

def ladder(agents: int, *, lazy: bool = True) -> Topology:
    half = agents // 2
    rails = [(i, i + 1) for i in range(agents - 1) if i != half - 1]
    return from_edges(agents, edges=rails + [(i, i + half) for i in range(half)], name="ladder", lazy=lazy)

@hookimpl
def graftwork_components():
    yield Component("strategy", "damped", "graftwork_mine:damped", "half the correction")
    yield Component("topology", "ladder", "graftwork_mine:ladder", "two rails and rungs")
"""


def test_a_strategy_and_a_topology_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Any
) -> None:
    write_plugin(tmp_path, "mine", PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    try:
        registry = Registry.discover()
        strategy = registry.resolve(registry.find("strategy/damped"))()
        graphs = registry.resolve(registry.find("topology/ladder"))(10)
    finally:
        sys.modules.pop("graftwork_mine", None)
    strategy.validate(graphs, step_times_smoothness=0.3)
    assert problem.error(strategy, graphs, 3000) <= 1e-18
