"""Delay and compression: the mean is kept, strategies converge or are refused, a run resumes bit for bit.

Reached from here: ``draws.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graftwork import GraftworkError
from graftwork_decentral import strategies
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.faults import (
    Compressed,
    Compressor,
    Delayed,
    EightBit,
    Faults,
    LinkLoss,
    RandomK,
    ScaledSign,
    TopK,
)
from graftwork_decentral.faults.delay_stability import delayed_radius, largest_mixing_gap
from graftwork_decentral.strategies import Strategy
from graftwork_decentral.topology import Topology, one_peer_exponential, ring, static_exponential

LAZY_RING = ring(10, lazy=True)
CALM_RING = ring(10, self_weight=0.75)
COMPRESSORS: dict[str, Compressor] = {
    "8-bit": EightBit(),
    "top-k": TopK(0.3),
    "random-k": RandomK(0.3),
    "sign": ScaledSign(8),
}


def made(name: str) -> Strategy:
    return getattr(strategies, name)()  # type: ignore[no-any-return]


def stacked(graphs: Any) -> StackedCommunicator:
    return StackedCommunicator(graphs, path="differences")


def disagreement(values: torch.Tensor) -> float:
    return float((values - values.mean(0)).square().sum())


def error(problem: Any, strategy: Strategy, communicator: Any, steps: int) -> float:
    return float((problem.run(strategy, communicator, steps) - problem.minimizer).square().sum())


@pytest.mark.parametrize("delay", [0, 1, 2, 3])
def test_delayed_mixing_keeps_the_mean_and_agrees(delay: int) -> None:
    communicator = Delayed(stacked(ring(10, self_weight=0.9)), delay, seed=4)
    start = values = torch.randn(10, 6, dtype=torch.float64)
    for step in range(1200):
        values = communicator.mix(values, step)
    assert float((values.mean(0) - start.mean(0)).abs().max()) < 1e-13
    assert disagreement(values) < 1e-12


@pytest.mark.parametrize("delay", [1, 2, 4])
def test_the_bound_of_delayed_mixing_is_where_a_mode_leaves_the_unit_circle(delay: int) -> None:
    bound = largest_mixing_gap(delay)
    inside, outside = (delayed_radius(made("diffusion"), 1 - bound * f, delay, 0.0) for f in (0.999, 1.001))
    assert inside < 1 < outside


def test_mixing_that_would_oscillate_is_refused() -> None:
    with pytest.raises(
        GraftworkError, match=r"oscillates without end: 1 - lambda_min is .* use a smaller faults.delay"
    ):
        Delayed(stacked(ring(10)), 1)


@pytest.mark.parametrize("name", ["gt_atc", "gt_semi_atc", "gt_non_atc"])
def test_tracking_converges_with_old_values(problem: Any, name: str) -> None:
    faults = Faults(delay=1)
    faults.validate(made(name), CALM_RING, step_times_smoothness=0.25)
    assert error(problem, made(name), faults.communicator(stacked(CALM_RING)), 1800) <= 1e-12


@pytest.mark.parametrize("name", ["exact_diffusion", "extra"])
def test_corrections_that_are_summed_up_are_refused_with_old_values(problem: Any, name: str) -> None:
    with pytest.raises(GraftworkError, match=r"diverges with faults\.delay = 1: .*or diffusion"):
        Faults(delay=1).validate(made(name), CALM_RING)
    assert delayed_radius(made(name), 0.5, 1, 1e-3) > 1.1
    # It is no false alarm: with two steps and a little more weight on the neighbours they do diverge.
    diverged = error(problem, made(name), Delayed(stacked(ring(10, self_weight=0.7)), 2), 400)
    assert not diverged < 1e10


@pytest.mark.parametrize("what", COMPRESSORS)
def test_compressed_mixing_keeps_the_mean_and_agrees(what: str) -> None:
    compressor = COMPRESSORS[what]
    communicator = Compressed(stacked(LAZY_RING), compressor)
    start = values = torch.randn(10, 40, dtype=torch.float64)
    for step in range(1200):
        values = communicator.mix(values, step)
    assert float((values.mean(0) - start.mean(0)).abs().max()) < 1e-12
    assert disagreement(values) < 1e-10


@pytest.mark.parametrize("what", COMPRESSORS)
def test_compressed_bytes_are_counted(what: str) -> None:
    lengths = {"8-bit": 1000 + 4 * 2, "top-k": 300 * 8, "random-k": 300 * 4, "sign": 125 + 4 * 125}
    communicator = Compressed(stacked(LAZY_RING), COMPRESSORS[what])
    communicator.mix(torch.randn(10, 1000), 0)
    assert communicator.traffic.bytes == 20 * lengths[what]
    assert communicator.traffic.rounds == 1
    assert communicator.traffic.messages == 20


@pytest.mark.parametrize("what", COMPRESSORS)
def test_diffusion_with_compression_settles_near_where_it_does_without(problem: Any, what: str) -> None:
    """Gamma mixes less, so that the comparison is with an uncompressed graph that is as slow."""
    communicator = Compressed(stacked(LAZY_RING), COMPRESSORS[what])
    slower = (1 - communicator.gain) * torch.eye(10, dtype=torch.float64)
    plain = Topology("slower", slower + communicator.gain * LAZY_RING.mixing_matrix)
    uncompressed = problem.run(made("diffusion"), stacked(plain), 1500)
    compressed = problem.run(made("diffusion"), communicator, 1500)
    assert float((compressed - uncompressed).norm() / (uncompressed - problem.minimizer).norm()) < 0.1


@pytest.mark.parametrize(("what", "share"), [("8-bit", 0.1), ("top-k", 0.4), ("random-k", 0.4)])
@pytest.mark.parametrize("name", ["exact_diffusion", "extra"])
def test_exact_diffusion_converges_with_compression_at_the_gamma_it_is_given(
    problem: Any, name: str, what: Any, share: float
) -> None:
    faults = Faults(compressor=what, share=share)
    faults.validate(made(name), LAZY_RING)
    communicator = faults.communicator(stacked(LAZY_RING), made(name))
    assert error(problem, made(name), communicator, 3000) <= 1e-12


@pytest.mark.parametrize("what", ["8-bit", "top-k", "random-k", "sign"])
def test_tracking_converges_with_compression(problem: Any, what: Any) -> None:
    faults = Faults(compressor=what, share=0.4)
    faults.validate(made("gt_semi_atc"), LAZY_RING)
    assert error(problem, made("gt_semi_atc"), faults.communicator(stacked(LAZY_RING)), 3000) <= 1e-7


def test_exact_diffusion_is_refused_where_it_diverges() -> None:
    with pytest.raises(GraftworkError, match=r"'sign'.* no gamma is known.*'8-bit'"):
        Faults(compressor="sign").validate(made("exact_diffusion"), LAZY_RING)
    with pytest.raises(GraftworkError, match=r"use faults.gamma = 0\.05 or less"):
        Faults(compressor="top-k", gamma=0.4).validate(made("extra"), LAZY_RING)


def test_agents_that_agree_stay_where_they_are() -> None:
    communicator = Compressed(stacked(LAZY_RING), TopK(0.2))
    values = torch.randn(1, 20, dtype=torch.float64).repeat(10, 1)
    for step in range(50):
        assert torch.equal(communicator.mix(values, step), values)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(delay=1),
        Faults(compressor="random-k", share=0.3),
        Faults(compressor="top-k", share=0.3, delay=1, link_loss=0.2),
    ],
    ids=["delay", "random-k", "all"],
)
def test_a_run_that_is_resumed_is_bitwise_the_one_that_was_not(problem: Any, faults: Faults) -> None:
    def step_of(point: torch.Tensor, form: Any, communicator: Any, step: int) -> torch.Tensor:
        exchange = communicator.at(step)
        gradient = (problem.curvatures @ point[..., None])[..., 0] - problem.pulls
        direction = form.prepare(0.05 * gradient, exchange)
        return form.combine(point, point - direction, exchange)  # type: ignore[no-any-return]

    def fresh() -> tuple[Any, Any, torch.Tensor]:
        communicator = faults.communicator(stacked(faults.graphs(CALM_RING)))
        point = torch.zeros_like(problem.pulls)
        return communicator, made("gt_atc").start(point), point

    communicator, form, point = fresh()
    for step in range(20):
        point = step_of(point, form, communicator, step)
    saved = communicator.state_dict()
    kept = {name: value.clone() for name, value in form.state().items()}
    resumed, its_form, _ = fresh()
    resumed.load_state_dict(saved)
    for name, value in its_form.state().items():
        value.copy_(kept[name])
    other = point.clone()
    for step in range(20, 40):
        point = step_of(point, form, communicator, step)
        other = step_of(other, its_form, resumed, step)
    assert torch.equal(point, other)


def test_channels_are_told_apart_by_name_and_by_turn() -> None:
    communicator = Compressed(stacked(LAZY_RING), EightBit())
    for step in range(2):
        communicator.mix(torch.randn(10, 4), step)
        communicator.mix(torch.randn(10, 7), step)
        communicator.exchange({"point": torch.randn(10, 2), "tracker": torch.randn(10, 3)}, step)
    copies = communicator.state_dict()["memory"]
    assert {name: value.shape[1] for name, value in copies.items()} == {
        "point.1": 4,
        "point.2": 7,
        "point.3": 2,
        "tracker.1": 3,
    }


@pytest.mark.parametrize("what", COMPRESSORS)
@pytest.mark.parametrize("width", [1, 7, 8, 513, 1030])
def test_bytes_say_the_rows(what: str, width: int) -> None:
    compressor = COMPRESSORS[what]
    rows = torch.randn(3, width)
    message = compressor.encode(rows, [4, 5, 6], 9)
    assert message.dtype == torch.uint8
    assert message.shape[0] == 3
    decoded = compressor.decode(message, [4, 5, 6], 9, width)
    assert decoded.shape == rows.shape
    assert bool(torch.isfinite(decoded).all())
    assert float((rows - decoded).norm()) < float(rows.norm()) or width == 1
    assert torch.equal(compressor.decode(message[1:2], [5], 9, width)[0], decoded[1])


def test_rows_of_zeros_stay_zeros() -> None:
    for compressor in COMPRESSORS.values():
        zeros = torch.zeros(2, 20)
        assert torch.equal(compressor.decode(compressor.encode(zeros, [0, 1], 0), [0, 1], 0, 20).abs(), zeros)


@pytest.mark.parametrize("graphs", [one_peer_exponential(8), static_exponential(8)], ids=str)
def test_graphs_without_fixed_symmetric_links_are_refused(graphs: Any) -> None:
    with pytest.raises(GraftworkError, match=r"faults\.compressor needs a (fixed|symmetric) topology"):
        Compressed(stacked(graphs), EightBit())


def test_delay_goes_around_compression() -> None:
    with pytest.raises(ValueError, match=r"delay goes around compression"):
        Compressed(Delayed(stacked(CALM_RING), 1), EightBit())
    both = Delayed(Compressed(stacked(LinkLoss(CALM_RING, 0.2)), EightBit()), 1)
    start = values = torch.randn(10, 6, dtype=torch.float64)
    for step in range(800):
        values = both.mix(values, step)
    assert float((values.mean(0) - start.mean(0)).abs().max()) < 1e-13
    assert disagreement(values) < 1e-12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"link_loss": 2.0}, "link_loss must be at least 0 and below 1"),
        ({"delay": -1}, "delay must be at least 0"),
        ({"gamma": 0.0}, "gamma must be above 0"),
        ({"compressor": "zip"}, "compressor must be"),
        ({"on_failure": "pray"}, "on_failure must be"),
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Faults(**options)
