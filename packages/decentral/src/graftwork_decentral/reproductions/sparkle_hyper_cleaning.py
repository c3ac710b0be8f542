"""Hyper-cleaning of digits: who separates wrong labels from right ones, and how soon all agents agree."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from graftwork import Finding
from graftwork_decentral.bilevel.problem import BilevelMethod, BilevelSettings
from graftwork_decentral.bilevel.setup import BilevelSetup
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.reproductions import sparkle_variants as variants
from graftwork_decentral.reproductions.sparkle_variants import Variant
from graftwork_decentral.tasks.area_under_curve import area_under_curve
from graftwork_decentral.tasks.hyper_cleaning import HyperCleaningTask
from graftwork_decentral.tasks.images import load_images
from graftwork_decentral.topology import Topology, ring
from graftwork_trainer.images.labelled import Images

AGENTS = 10
SETTINGS = BilevelSettings(alpha=100.0, beta=0.3, gamma=0.3, theta=0.2)
EARLY, MIDDLE = 50, 250
COMPARED = (
    variants.D_SOBA,
    variants.MDBO,
    variants.MA_DSBO,
    variants.SLDBO,
    variants.GT,
    variants.ED,
    variants.EXTRA,
    variants.ED_GT,
    variants.CENTRALIZED,
)
_UNTUNED = "none (steps are those of SPARKLE, not tuned for this method)"
_OF_SPARKLE = 5
"""Evaluations in a step."""
_QUANTITIES = (
    f"worst agent's accuracy, step {EARLY}",
    f"AUC of weights against wrong labels, step {MIDDLE}",
    "accuracy, mean over agents, at the end",
    "|Y - mean|_F at the end",
)
_REFERENCE = {
    "D-SOBA": (".10-.19", ".83-.90", ".889-.915", ".66-.85"),
    "SPARKLE-GT (semi)": (".49-.63", ".981-.984", ".914-.934", "6e-3 to 1.5e-2"),
    "SPARKLE-ED": (".71-.74", ".985-.989", ".916-.936", "4e-4 to 9e-4"),
    "SPARKLE-EXTRA": (".71-.75", ".985-.988", ".916-.936", "5e-4 to 1e-3"),
    "SPARKLE-ED-GT": (".72-.77", ".985-.989", ".916-.936", "4e-4 to 9e-4"),
    "fully connected": (".71-.75", ".985-.989", ".916-.936", "2e-4"),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run stands at some step."""

    step: int
    evaluations: int
    worst: float
    mean: float
    auc: float
    disagreement: float


@dataclass(frozen=True, slots=True)
class CleaningRun:
    """One method on one draw of split, corruption and partition."""

    variant: Variant
    seed: int
    moments: list[Moment]

    def at(self, step: int) -> Moment:
        """The last record up to a step."""
        return [moment for moment in self.moments if moment.step <= step][-1]


def clean(
    variant: Variant, seed: int, steps: int, graphs: Topology | None = None, *, records: Sequence[int] = ()
) -> CleaningRun:
    """Run one method, with whole batches, for as many evaluations as SPARKLE takes in a number of steps.

    Args:
        variant: which.
        seed: of the draw.
        steps: how many of SPARKLE.
        graphs: of all levels; the lazy ring unless given.
        records: further steps to record.
    """
    task, setup, test = _drawn(seed, AGENTS)
    communicator = StackedCommunicator(graphs or ring(AGENTS, lazy=True), path=variant.path)
    method = variant.build(setup.problem, communicator, SETTINGS, setup.upper_start, setup.lower_start)
    evaluations: int = getattr(method, "evaluations_per_step", _OF_SPARKLE)
    steps = max(MIDDLE if steps >= MIDDLE else 1, steps * _OF_SPARKLE // evaluations)
    wanted = {*range(10, 100, 10), *range(100, steps, 50), EARLY, MIDDLE, steps, *records}
    moments = []
    for step in range(1, steps + 1):
        method.step(setup.batches(step, range(AGENTS)))
        if step in wanted:
            moments.append(_moment(method, step, step * evaluations, task, test))
    return CleaningRun(variant, seed, moments)


@lru_cache(maxsize=8)
def _drawn(seed: int, agents: int) -> tuple[HyperCleaningTask, BilevelSetup, Images]:
    """The task, its problem and the held-out images of a draw, which all methods share."""
    task = HyperCleaningTask(seed=seed)
    return task, task.bilevel(agents), load_images("digits", None, seed)[1]


def _moment(
    method: BilevelMethod, step: int, evaluations: int, task: HyperCleaningTask, test: Images
) -> Moment:
    features = torch.from_numpy(test.features.reshape(len(test), -1))
    accuracies = _accuracies(method.lower, features, torch.from_numpy(test.labels))
    weights = method.upper.mean(0).double().numpy()
    return Moment(
        step,
        evaluations,
        float(accuracies.min()),
        float(accuracies.mean()),
        area_under_curve(-weights, task.corrupted) if np.isfinite(weights).all() else float("nan"),
        float((method.lower - method.lower.mean(0)).norm()),
    )


def _accuracies(lower: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    inputs = features.shape[1]
    classes = lower.shape[1] // (inputs + 1)
    weight, bias = torch.split(lower, [classes * inputs, classes], dim=1)
    logits = features @ weight.reshape(-1, classes, inputs).mT + bias[:, None]
    right: Tensor = logits.argmax(-1) == labels
    return right.double().mean(1)


def without_cleaning(seed: int, *, only_right: bool) -> float:
    """Return the accuracy of the convex optimum on all training labels, or on the right ones alone."""
    task = HyperCleaningTask(seed=seed)
    rows = np.flatnonzero(~task.corrupted) if only_right else np.arange(len(task.training))
    training = task.training.subset(rows)
    features = torch.from_numpy(training.features.reshape(len(rows), -1))
    labels = torch.from_numpy(training.labels)
    y = torch.zeros(1, (features.shape[1] + 1) * training.classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([y], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        weight, bias = torch.split(y[0], [training.classes * features.shape[1], training.classes])
        logits = features @ weight.view(training.classes, -1).mT + bias
        value = F.cross_entropy(logits, labels) + 1e-3 * y.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    test = load_images("digits", None, seed)[1]
    features = torch.from_numpy(test.features.reshape(len(test), -1))
    return float(_accuracies(y.detach(), features, torch.from_numpy(test.labels)))


@dataclass(frozen=True, slots=True)
class CleaningStudy:
    """All runs, and for each seed the optimum without cleaning and that on right labels alone."""

    runs: list[Future[CleaningRun]]
    optima: dict[bool, list[Future[float]]]


def submit_cleaning(pool: Executor, seeds: Sequence[int], steps: int) -> CleaningStudy:
    """Have every method run on every draw.

    Args:
        pool: takes the runs.
        seeds: of the draws.
        steps: of SPARKLE.
    """
    runs = [pool.submit(clean, variant, seed, steps) for variant in COMPARED for seed in seeds]
    optima = {
        only_right: [pool.submit(without_cleaning, seed, only_right=only_right) for seed in seeds]
        for only_right in (False, True)
    }
    return CleaningStudy(runs, optima)


def findings_of(runs: Sequence[CleaningRun], optima: Mapping[bool, Sequence[float]]) -> list[Finding]:
    """Return the table: the mean over seeds, its range and the reference range in the note.

    Args:
        runs: of all methods and draws.
        optima: accuracies of the convex optimum, with right labels only and not.
    """
    findings = []
    for label in dict.fromkeys(run.variant.label for run in runs):
        own = [run for run in runs if run.variant.label == label]
        for place, quantity in enumerate(_QUANTITIES):
            values = [
                (
                    run.at(EARLY).worst,
                    run.at(MIDDLE).auc,
                    run.moments[-1].mean,
                    run.moments[-1].disagreement,
                )[place]
                for run in own
            ]
            reference = _REFERENCE[label][place] if label in _REFERENCE else _UNTUNED
            after = f"; end: step {own[0].moments[-1].step}" if "end" in quantity else ""
            findings.append(_finding(f"digits, {label}, {quantity}", values, reference, after))
    for what, only_right, reference in (
        ("no cleaning", False, ".791-.851"),
        ("right labels only", True, ".920-.950"),
    ):
        name = f"digits, {what}, accuracy of the convex optimum"
        findings.append(_finding(name, optima[only_right], reference))
    return findings


def _finding(what: str, values: Sequence[float], reference: str, after: str = "") -> Finding:
    spread = f"{min(values):.3g} to {max(values):.3g} over {len(values)} seeds"
    note = f"{spread}{after}; this project's reference, other draws: {reference}"
    return Finding(what, None, statistics.fmean(values), note)
