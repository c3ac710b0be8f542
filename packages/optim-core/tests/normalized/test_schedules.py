"""Schedules of normalized optimizers: the table by hand, and what is said where something is missing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from graftwork_optim_core.normalized.nsgdc import NSGDC
from graftwork_optim_core.normalized.schedules import (
    KINDS,
    ScheduleKind,
    decay_exponents,
    nsgdc_schedule,
    rate_exponent,
)
from graftwork_optim_core.normalized.unknown_horizon import UnknownHorizonSchedule

KNOWN: dict[str, Any] = {"horizon": 10_000, "L": 2, "delta": 4, "sigma": 3}


def constants(kind: ScheduleKind, **changed: Any) -> dict[str, Any]:
    return {**KNOWN, **({"rho": 5} if kind == "a-nsgdc" else {}), **changed}


@pytest.mark.parametrize(
    ("kind", "p", "mixing", "length"),
    [
        ("nsgdc", 1.5, 0.00370944, 0.000861329),
        ("nsgdc-vr", 1.5, 0.000915452, 0.00137318),
        ("a-nsgdc", 1.5, 0.00309439, 0.000914984),
        ("nsgdc", 2, 0.00942809, 0.00137318),
        ("nsgdc-vr", 2, 0.00199174, 0.0029876),
        ("a-nsgdc", 2, 0.00706423, 0.00158638),
    ],
)
def test_5_known_constants(kind: ScheduleKind, p: float, mixing: float, length: float) -> None:
    schedule = nsgdc_schedule(kind, p, **constants(kind))
    assert 1 - schedule.momentum == pytest.approx(mixing, rel=5e-6)
    assert schedule.lr == pytest.approx(length, rel=5e-6)
    assert schedule.clip is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", [1.2, 1.5, 2.0])
def test_5_without_noise_whole_gradients_are_taken(kind: ScheduleKind, p: float) -> None:
    schedule = nsgdc_schedule(kind, p, **constants(kind, sigma=0.0))
    assert schedule.momentum == 0
    assert schedule.lr == pytest.approx(0.0141421, rel=5e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", [1.2, 1.5, 1.8, 2.0])
def test_section_3_both_forms_have_the_same_exponents(kind: ScheduleKind, p: float) -> None:
    """By ten times the steps, far from where the minimum binds."""
    mixing_exponent, length_exponent = decay_exponents(kind, p)
    for known in ({}, {name: value for name, value in constants(kind).items() if name != "horizon"}):
        first, second = (nsgdc_schedule(kind, p, horizon, **known) for horizon in (10**6, 10**7))
        assert (1 - first.momentum) / (1 - second.momentum) == pytest.approx(10**mixing_exponent, rel=1e-6)
        assert first.lr / second.lr == pytest.approx(10**length_exponent, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "exponents"),
    [
        ("nsgdc", (0.125, 0.2, 0.2353, 0.25)),
        ("a-nsgdc", (0.1333, 0.2222, 0.2667, 0.2857)),
        ("nsgdc-vr", (0.1429, 0.25, 0.3077, 0.3333)),
    ],
)
def test_section_3_exponents_of_the_rates(kind: ScheduleKind, exponents: tuple[float, ...]) -> None:
    assert [round(rate_exponent(kind, p), 4) for p in (1.2, 1.5, 1.8, 2)] == list(exponents)


def test_section_3_the_threshold_covers_every_gradient_and_the_noise() -> None:
    schedule = nsgdc_schedule("nsgdc", 1.5, **KNOWN, initial_gradient_norm=3.0)
    assert schedule.clip == pytest.approx(
        max(2 * (3 + schedule.lr * 2 * 10_000), 3 * 0.00370944 ** (-1 / 1.5))
    )
    assert schedule.clip == pytest.approx(125.19, abs=0.01)
    loud = nsgdc_schedule("nsgdc", 1.5, **{**KNOWN, "sigma": 300.0}, initial_gradient_norm=0.0)
    assert loud.clip == pytest.approx(300 * (1 - loud.momentum) ** (-1 / 1.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nsgd", 1.5, 10), "kind must be 'nsgdc', 'nsgdc-vr' or 'a-nsgdc', got 'nsgd'"),
        (("nsgdc", 1.0, 10), r"p must be None or in \(1, 2\], got 1\.0"),
        (("nsgdc", 2.5, 10), r"p must be None or in \(1, 2\], got 2\.5"),
        (("nsgdc", 1.5, 0), "horizon must be a whole number, 1 or more, got 0"),
        (("nsgdc", 1.5, 10, 2.0), r"delta, sigma must be given too: .* needs p, L, delta, sigma, got L;"),
        (("a-nsgdc", 1.5, 10, 2.0, 4.0, 3.0), "rho must be given too"),
        (("nsgdc", None, 10, 2.0, 4.0, 3.0), "p must be given too"),
        (("nsgdc", 1.5, 10, 2.0, 4.0, 3.0, 5.0), "rho must be None for 'nsgdc'"),
        (("nsgdc", 1.5, 10, -2.0, 4.0, 3.0), r"L must be greater than 0, got -2\.0"),
        (("nsgdc", 1.5, 10, 2.0, 4.0, -3.0), r"sigma must be 0 or more, got -3\.0"),
        (("nsgdc-vr", None, 10), r"p must be in \(1, 2\] for 'nsgdc-vr', got None"),
        (("nsgdc", 1.5, 10, None, None, None, None, 0.0), r"gamma0 must be greater than 0, got 0\.0"),
        (
            ("nsgdc", 1.5, 10, None, None, None, None, 1.0, 3.0),
            "initial_gradient_norm must come with L, delta, sigma",
        ),
    ],
)
def test_what_is_wrong_or_missing_is_named(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nsgdc_schedule(*arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_horizon_counts_each_step_as_the_last(kind: ScheduleKind) -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = NSGDC([{"params": [weight], "lr": 3.0}, {"params": [nn.Parameter(torch.ones(2))], "lr": 5.0}])
    schedule = UnknownHorizonSchedule(optimizer, 1.5, kind)
    for step in range(8):
        expected = nsgdc_schedule(kind, 1.5, step + 1, gamma0=3.0)
        one, other = optimizer.param_groups
        assert one["lr"] == pytest.approx(expected.lr)
        assert other["lr"] == pytest.approx(5 / 3 * expected.lr)
        assert one["momentum"] == other["momentum"] == pytest.approx(expected.momentum)
        weight.grad = torch.ones(2)
        optimizer.step()
        schedule.step()


def test_an_unknown_horizon_resumes() -> None:
    def made() -> tuple[NSGDC, UnknownHorizonSchedule]:
        optimizer = NSGDC([nn.Parameter(torch.ones(2))], lr=torch.tensor(2.0))
        return optimizer, UnknownHorizonSchedule(optimizer, None)

    optimizer, schedule = made()
    for _ in range(5):
        optimizer.step()
        schedule.step()
    states = copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))
    again, resumed = made()
    again.load_state_dict(states[0])
    resumed.load_state_dict(states[1])
    for one in (optimizer, again):
        assert float(one.param_groups[0]["lr"]) == pytest.approx(2 * 6**-0.75)
        assert one.param_groups[0]["momentum"] == pytest.approx(1 - 6**-0.5)
    again.step()
    resumed.step()
    assert float(again.param_groups[0]["lr"]) == pytest.approx(2 * 7**-0.75)


def test_an_unknown_horizon_needs_momentum_to_set() -> None:
    adam = torch.optim.AdamW([nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match=r"optimizer must be a normalized one, .* AdamW has none in group 0"):
        UnknownHorizonSchedule(adam, 1.5)
    with pytest.raises(ValueError, match=r"p must be in \(1, 2\] for 'a-nsgdc', got None"):
        UnknownHorizonSchedule(NSGDC([nn.Parameter(torch.ones(2))]), None, "a-nsgdc")
