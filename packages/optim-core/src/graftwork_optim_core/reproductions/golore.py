"""The counterexample to GaLore's convergence, and GoLore and large-batch GaLore that get past it.

Source: arXiv:2410.11289; the problem stands in :mod:`graftwork_optim_core.reproductions.stalling_problem`.
All curves are made by this package's optimizers, step by step in float64.

As published: 200 000 steps of SGD without momentum at learning rate 3e-5, a new basis every 100 steps, rank
4. With fewer steps the learning rate grows and the refresh interval shrinks in proportion, so that the
distance (learning rate times steps, 6), the number of bases (2000) and the distance between them (3e-3) stay
what they were. For Adam (100 000 steps, distance 3, 1000 bases; its learning rate and length are inferred
from the published curve) beta1 and beta2 are raised to the power by which the run is shorter, so that the
averages remember the same part of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from graftwork import Finding
from graftwork_optim_core.golore import GoLoreAdamW, GoLoreMSGD
from graftwork_optim_core.reproductions.output import can_draw, write_findings, write_table
from graftwork_optim_core.reproductions.stalling_problem import OptimizerOf, StallingProblem, descend
from graftwork_optim_core.subspace.optimizer import SubspaceOptimizer

Host = Literal["SGD", "Adam"]
DescentCurve = Sequence[tuple[int, float]]

_RANK = 4
_BETAS = (0.9, 0.999)
_PUBLISHED_STEPS: dict[Host, int] = {"SGD": 200_000, "Adam": 100_000}
_DISTANCE: dict[Host, float] = {"SGD": 6.0, "Adam": 3.0}
_BASES: dict[Host, int] = {"SGD": 2000, "Adam": 1000}
_RECORDS = 200


@dataclass(frozen=True, slots=True)
class ScaledSchedule:
    """What a run of some length does; the published one's if it is as long."""

    host: Host
    steps: int
    learning_rate: float
    refresh_every: int
    betas: tuple[float, float]

    @classmethod
    def of(cls, host: Host, steps: int) -> ScaledSchedule:
        """Scale the published schedule to a length.

        Args:
            host: Adam's run is half as long as that of SGD.
            steps: of SGD, a multiple of 2000.

        >>> ScaledSchedule.of("SGD", 200_000)
        ScaledSchedule(host='SGD', steps=200000, learning_rate=3e-05, refresh_every=100, betas=(0.9, 0.999))
        """
        own = steps * _PUBLISHED_STEPS[host] // _PUBLISHED_STEPS["SGD"]
        shorter = _PUBLISHED_STEPS[host] / own
        betas = (_BETAS[0] ** shorter, _BETAS[1] ** shorter)
        return cls(host, own, _DISTANCE[host] / own, own // _BASES[host], betas)

    def __str__(self) -> str:
        text = f"{self.steps} steps, lr {self.learning_rate:.3g}, T {self.refresh_every}"
        if self.host == "Adam":
            text += f", betas {self.betas[0]:.4g} and {self.betas[1]:.4g}"
        return text


@dataclass(frozen=True, slots=True)
class StallingMethod:
    """One curve.

    Args:
        name: as in the table.
        host: "SGD" or "Adam".
        published: level at which the published curve ends, read off it.
        full_length: where this module ends after the published number of steps, with seed 0.
        random_last: part of the run whose bases are random; none for the full space.
        refresh_draws: gradients averaged at a refresh.
    """

    name: str
    host: Host
    published: float
    full_length: float
    random_last: float | None
    refresh_draws: int = 1

    def optimizer_of(self, schedule: ScaledSchedule, seed: int) -> OptimizerOf:
        """Return what makes this method's optimizer."""
        adam = self.host == "Adam"
        of_host: dict[str, Any] = {"betas": schedule.betas} if adam else {"momentum": 0.0}
        if self.random_last is None:
            # To compile a fused kernel for a matrix of ten rows would take longer than the run.
            return partial(
                SubspaceOptimizer,
                lr=schedule.learning_rate,
                host="adamw" if adam else "msgd",
                host_options=of_host,
                transform="identity",
                fused=False,
            )
        projection: dict[str, Any] = {
            "rank": _RANK,
            "side": "left",
            "refresh_every": schedule.refresh_every,
            "random_last": self.random_last,
            "total_steps": schedule.steps,
            "moments": "project",
            "seed": seed,
        }
        golore = GoLoreAdamW if adam else GoLoreMSGD
        return partial(golore, lr=schedule.learning_rate, scale=1.0, **projection, **of_host)


METHODS = (
    StallingMethod("full space", "SGD", -23.2, -23.217294, None),
    StallingMethod("GaLore", "SGD", -20.8, -20.783925, 0.0),
    StallingMethod("GaLore, 10 draws at a refresh", "SGD", -23.2, -23.159881, 0.0, 10),
    StallingMethod("GaLore, 100 draws at a refresh", "SGD", -23.2, -23.207974, 0.0, 100),
    StallingMethod("GoLore@75%", "SGD", -23.2, -23.145461, 0.75),
    StallingMethod("GoLore@100%", "SGD", -23.2, -23.014257, 1.0),
    StallingMethod("full space", "Adam", -23.2, -23.217441, None),
    StallingMethod("GaLore", "Adam", -20.8, -20.821950, 0.0),
    StallingMethod("GaLore, 100 draws at a refresh", "Adam", -23.2, -23.028195, 0.0, 100),
    StallingMethod("GoLore@50%", "Adam", -23.2, -23.137167, 0.5),
)
"""GaLore is GoLore without random bases, ``random_last=0``."""


def reproduce(output: Path, steps: int = 20_000, seed: int = 0) -> list[Finding]:
    """Compute the table and the figure of the counterexample.

    Args:
        output: folder for ``findings.json``, ``levels.csv``, ``curves.csv`` and, where matplotlib is
            installed, ``golore.png``; made if need be.
        steps: of the SGD runs, a multiple of 2000; published are 200 000.
        seed: of the gradients' noise and the random bases. The problem's own is the published one.

    Raises:
        ValueError: ``steps`` is no positive multiple of 2000.
    """
    if steps < 1 or steps % _BASES["SGD"]:
        raise ValueError(
            f"steps must be a positive multiple of {_BASES['SGD']}, the number of bases, got {steps}"
        )
    pictured = can_draw()
    output.mkdir(parents=True, exist_ok=True)
    problem = StallingProblem.drawn()
    curves: list[DescentCurve] = []
    for method in METHODS:
        schedule = ScaledSchedule.of(method.host, steps)
        optimizer_of = method.optimizer_of(schedule, seed)
        draws = method.refresh_draws
        curves.append(
            descend(problem, optimizer_of, schedule.steps, refresh_draws=draws, seed=seed, records=_RECORDS)
        )
    findings = [
        Finding("smallest value of f", None, problem.minimum, "closed form"),
        Finding("level at which GaLore stalls, closed form", -20.8, problem.stall_level, _READ_OFF),
        *(_finding(method, curve, steps) for method, curve in zip(METHODS, curves, strict=True)),
        *_without_slope(problem, steps, seed),
        *_momentum_projection(problem, seed),
    ]
    write_findings(output, findings)
    heading = ("host", "method", "published curve", "f at the published length", "f", "f - min f")
    settings = ("steps", "learning rate", "refresh every")
    write_table(output / "levels.csv", (*heading, *settings), _levels(problem, curves, steps))
    write_table(
        output / "curves.csv",
        ("host", "method", "step", "f"),
        (
            (method.host, method.name, step, repr(value))
            for method, curve in zip(METHODS, curves, strict=True)
            for step, value in curve
        ),
    )
    if pictured:
        _plot(problem, curves, steps, output / "golore.png")
    return findings


_READ_OFF = "published: read off the curve"


def _finding(method: StallingMethod, curve: DescentCurve, steps: int) -> Finding:
    schedule = ScaledSchedule.of(method.host, steps)
    note = f"{_READ_OFF}; measured: {schedule}"
    if schedule.steps != _PUBLISHED_STEPS[method.host]:
        note += f"; at the published {_PUBLISHED_STEPS[method.host]} steps {method.full_length:.4f}"
    return Finding(f"f at the end, {method.host}, {method.name}", method.published, curve[-1][1], note)


def _without_slope(problem: StallingProblem, steps: int, seed: int) -> Iterator[Finding]:
    """``D = 0``: all singular values are 0.5 from the start on, below the noise, and GaLore never moves."""
    flat = replace(problem, slope=torch.zeros_like(problem.slope))
    rate, refresh_every = 60 / steps, steps // 200
    for name, random_last in (("GaLore", 0.0), ("GoLore@50%", 0.5)):
        optimizer_of = partial(
            GoLoreMSGD,
            lr=rate,
            momentum=0.0,
            scale=1.0,
            rank=_RANK,
            side="left",
            refresh_every=refresh_every,
            random_last=random_last,
            total_steps=steps,
            seed=seed,
        )
        curve = descend(flat, optimizer_of, steps, seed=seed)
        note = f"starts at {curve[0][1]:g}, smallest value 0; {steps} steps, lr {rate:g}, T {refresh_every}"
        # GaLore stays where it starts, since its bases hold nothing but noise.
        expected, source = (0.75, "computed") if random_last == 0 else (None, "")
        quantity = f"f at the end with D = 0, {name}"
        yield Finding(quantity, None, curve[-1][1], note, expected=expected, source=source)


def _momentum_projection(problem: StallingProblem, seed: int) -> Iterator[Finding]:
    """What is lost where the momentum is not projected into each new basis."""
    steps, rate, refresh_every = 2000, 3e-3, 10
    of_hosts: dict[str, dict[str, Any]] = {"msgd": {"momentum": 0.9, "dampening": 0.9}, "adamw": {}}
    for host, host_options in of_hosts.items():
        for moments, meaning in (("project", "projected"), ("keep", "kept as it is")):
            optimizer_of = partial(
                SubspaceOptimizer,
                lr=rate,
                host=host,
                host_options=host_options,
                transform="golore",
                transform_options={
                    "rank": _RANK,
                    "side": "left",
                    "refresh_every": refresh_every,
                    "random_last": 0.5,
                    "total_steps": steps,
                    "moments": moments,
                    # The published optimizers take new directions with whatever signs they come.
                    "align_signs": False,
                    "seed": seed,
                },
            )
            gap = descend(problem, optimizer_of, steps, seed=seed)[-1][1] - problem.minimum
            label = "SGD with momentum 0.9" if host == "msgd" else "Adam"
            note = f"GoLore@50%, {steps} steps, lr {rate:g}, T {refresh_every}, signs of bases as they come"
            yield Finding(f"f - min f at the end, {label}, momentum {meaning}", None, gap, note)


def _levels(
    problem: StallingProblem, curves: Sequence[DescentCurve], steps: int
) -> Iterator[Sequence[object]]:
    for method, curve in zip(METHODS, curves, strict=True):
        schedule, level = ScaledSchedule.of(method.host, steps), curve[-1][1]
        numbers = (method.published, method.full_length, f"{level:.6f}", f"{level - problem.minimum:.6g}")
        settings = (schedule.steps, f"{schedule.learning_rate:.6g}", schedule.refresh_every)
        yield method.host, method.name, *numbers, *settings


def _plot(problem: StallingProblem, curves: Sequence[DescentCurve], steps: int, path: Path) -> None:
    """Draw f beside the published levels, and its distance from the minimum, a row each host."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    grid = figure.subplots(2, 2)
    names = list(dict.fromkeys(method.name for method in METHODS))
    for host, (linear, logarithmic) in zip(_DISTANCE, grid, strict=True):
        schedule = ScaledSchedule.of(host, steps)
        for method, curve in zip(METHODS, curves, strict=True):
            if method.host == host:
                made = [step for step, _ in curve]
                style = {"label": method.name, "color": f"C{names.index(method.name)}"}
                linear.plot(made, [value for _, value in curve], **style)
                logarithmic.plot(made, [value - problem.minimum for _, value in curve], **style)
        for number, level in enumerate((-20.8, -23.2)):
            label = None if number else "published levels"
            linear.axhline(level, color="grey", linestyle=":", label=label)
        logarithmic.axhline(
            problem.stall_level - problem.minimum, color="black", linestyle="--", label="stall, closed form"
        )
        linear.set_title(f"{host}: {schedule}", fontsize="medium")
        linear.set(xlabel="step", ylabel="f")
        logarithmic.set(yscale="log", ylim=(1e-4, None), xlabel="step", ylabel="f - min f")
        linear.legend(fontsize="small")
        logarithmic.legend(fontsize="small")
    figure.savefig(path, dpi=150)
