"""The cost model: it counts what a mixing does, and a calibration it is given decides the choice."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from graftwork_decentral.communication.paths import calibration, cost_model
from graftwork_decentral.communication.paths.calibration import Calibration, Unit, calibrated
from graftwork_decentral.communication.paths.plan import MixPlan

FLOAT, DOUBLE, BRAIN = torch.float32, torch.float64, torch.bfloat16
FREE = Unit(0.0, 0.0, 0.0)
NOTHING = Calibration(
    dict.fromkeys(cost_model.PATHS, 0.0),
    *(FREE, FREE, FREE, FREE),
    ((4, 1e-30, 1e-30), (256, 1e-30, 1e-30)),
)


def ring(agents: int) -> MixPlan:
    every = torch.arange(agents)
    neighbours = torch.stack([(every - 1) % agents, (every + 1) % agents], dim=1).sort(dim=1).values
    weights = torch.full((agents, 2), 0.25, dtype=DOUBLE)
    dense = torch.eye(agents, dtype=DOUBLE).mul_(0.5).scatter_(1, neighbours, 0.25)
    return MixPlan(every, neighbours, weights, dense)


def with_costs(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    monkeypatch.setattr(cost_model, "calibrated", lambda *_: replace(NOTHING, **changes))


def test_calls_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Unit(1.0, 0.0, 0.0)
    with_costs(monkeypatch, gathered=call, rowwise=call)
    monkeypatch.setattr(cost_model, "row_width", lambda known: 500)
    monkeypatch.setattr(cost_model, "block_width", lambda rows, device: 400)
    seconds = cost_model.predicted(ring(10), 1000, FLOAT)
    # Three blocks of two neighbours; two blocks of twenty edges.
    assert seconds["gathered"] == 6
    assert seconds["rowwise"] == 40


def test_elements_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    element = Unit(0.0, 1.0, 1.0)
    with_costs(monkeypatch, gathered=element, rowwise=element, products=((4, 1.0, 1.0), (256, 1.0, 1.0)))
    for parameters in (7, 123_456):
        seconds = cost_model.predicted(ring(10), parameters, FLOAT)
        assert seconds["gathered"] == pytest.approx(20 * parameters)
        assert seconds["rowwise"] == pytest.approx(20 * parameters)
        assert seconds["dense"] == pytest.approx(100 * parameters)
        assert seconds["plain"] == pytest.approx(100 * parameters)


def test_narrow_dtypes_pass_over_both_sides_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with_costs(monkeypatch, passed=Unit(0.0, 1.0, 1.0))
    assert cost_model.predicted(ring(10), 50, BRAIN)["gathered"] == 2 * 10 * 50
    assert cost_model.predicted(ring(10), 50, FLOAT)["gathered"] == 0


def test_a_long_call_costs_what_threads_share() -> None:
    unit = Unit(1.0, 2.0, 0.5)
    assert unit.seconds(2, 10) == 2 * (1 + 20)
    assert unit.seconds(1, calibration.SHARED_FROM) == 1 + calibration.SHARED_FROM / 2


def test_products_lie_between_those_measured() -> None:
    costs = replace(NOTHING, products=((4, 4e-9, 2e-9), (16, 1e-9, 5e-10), (64, 1e-9, 5e-10)))
    assert costs.product_seconds(4, 4, 10) == pytest.approx(160 * 4e-9)
    assert costs.product_seconds(8, 8, 10) == pytest.approx(640 * 2e-9)
    assert costs.product_seconds(8, 8, 10_000) == pytest.approx(640_000 * 1e-9)
    assert costs.product_seconds(2, 2, 10) == pytest.approx(40 * 4e-9)
    assert costs.product_seconds(1, 256, 1) == pytest.approx(256 * 1e-9)


def test_the_least_is_chosen_among_those_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with_costs(monkeypatch, gathered=Unit(3.0, 0.0, 0.0), rowwise=Unit(1.0, 0.0, 0.0))
    assert cost_model.cheapest(ring(10), 100, FLOAT) == "dense"
    assert cost_model.cheapest(ring(10), 100, FLOAT, among=cost_model.DIFFERENCES) == "gathered"
    assert cost_model.cheapest(ring(10), 100, FLOAT, among=("rowwise",)) == "rowwise"


def test_calibration_is_quick_and_made_once() -> None:
    calibrated.cache_clear()
    arguments = (FLOAT, torch.device("cpu"), torch.get_num_threads())
    start = time.process_time()
    first = calibrated(*arguments)
    # Twice the 0.2 seconds of a quiet machine.
    assert time.process_time() - start < 0.4
    assert calibrated(*arguments) is first
    for unit in (first.gathered, first.scattered, first.rowwise, first.passed):
        assert 0 < unit.call < 1e-2
        assert 0 <= unit.alone < 1e-6


def test_a_sparse_graph_of_many_agents_is_not_multiplied() -> None:
    """Far from where the paths cross, whatever else the machine is doing."""
    assert cost_model.cheapest(ring(256), 50_000, FLOAT) != "dense"
    matrix = torch.full((64, 64), 1 / 64, dtype=DOUBLE)
    others = torch.stack([torch.tensor([o for o in range(64) if o != agent]) for agent in range(64)])
    full = MixPlan(torch.arange(64), others, torch.full((64, 63), 1 / 64, dtype=DOUBLE), matrix)
    assert cost_model.cheapest(full, 50_000, FLOAT) == "dense"
