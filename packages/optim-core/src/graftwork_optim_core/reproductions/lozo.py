"""Fine-tuning a pretrained encoder with forward passes alone, beside fine-tuning with gradients.

Sources: LOZO, arXiv:2410.07698; MeZO, arXiv:2305.17333. The published experiments (RoBERTa-large, OPT up to
66B, LLaMA) need a GPU and data that no package ships. This runs the same methods on a sentence encoder of
22.7M parameters (MiniLM) that learns to tell good from bad reviews by the cosine of a review to a sentence
that says so (task ``prompt-classification``, data ``rotten-tomatoes``); another model and other data by name.

Every method gets the same number of forward passes: a zeroth-order step takes two, a step with gradients one
(and a backward pass, which is not counted). Each has its learning rate from a grid of three, chosen on seeds
that are not reported. In theory a step of LOZO is no better than one of MeZO: the second moments of their
estimates are equal to within ``2 (rows + columns + 1) / rank`` in ``rows * columns``. What low rank saves is
memory and time.

Raises GraftworkError where the task's package is not installed.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graftwork import Finding, Kind, choose
from graftwork_optim_core.lozo import LOZO, LOZOM
from graftwork_optim_core.mezo import MeZO
from graftwork_optim_core.plugin import LORA
from graftwork_optim_core.reproductions.allocation import peak_allocation
from graftwork_optim_core.reproductions.output import can_draw, write_findings, write_table

RANK, INTERVAL = 2, 50
_SELECTION_SEEDS = (1000,)
_RECORDS = 20


@dataclass(frozen=True, slots=True)
class Tuning:
    """One row of the table.

    Args:
        name: as in the table.
        make: returns the optimizer, given parameters with their names and ``lr``.
        rates: the grid.
        passes: forward passes that a step takes.
        part: train the chosen part of the weights, not all.
        lora_rank: of adapters in all layers, with all else frozen; none trains the weights themselves.
        published: accuracies on SNLI, MNLI and RTE of RoBERTa-large with 16 examples a class, percent.
    """

    name: str
    make: Callable[..., torch.optim.Optimizer]
    rates: tuple[float, float, float]
    passes: int
    part: bool = True
    lora_rank: int | None = None
    published: tuple[float, float, float] | None = None


_LOZO = partial(LOZO, rank=RANK, interval=INTERVAL)
_LOZO_M = partial(LOZOM, rank=RANK, interval=INTERVAL)
_ADAMW = partial(torch.optim.AdamW, weight_decay=0.0)

METHODS = (
    Tuning("MeZO", MeZO, (3e-5, 1e-4, 3e-4), 2, published=(68.5, 56.7, 58.6)),
    Tuning("LOZO", _LOZO, (3e-5, 1e-4, 3e-4), 2, published=(73.4, 61.6, 61.1)),
    Tuning("LOZO-M", _LOZO_M, (3e-5, 1e-4, 3e-4), 2, published=(74.0, 62.7, 60.2)),
    Tuning("AdamW", _ADAMW, (3e-5, 1e-4, 3e-4), 1),
    Tuning("LOZO, all weights", _LOZO, (1e-5, 3e-5, 1e-4), 2, part=False),
    Tuning(
        "LoRA with AdamW, all layers",
        _ADAMW,
        (3e-4, 1e-3, 3e-3),
        1,
        part=False,
        lora_rank=8,
        published=(71.6, 59.4, 61.4),
    ),
    Tuning("AdamW, all weights", _ADAMW, (1e-5, 3e-5, 1e-4), 1, part=False, published=(72.7, 63.4, 61.3)),
)
"""Published: arXiv:2410.07698, the summary plot's bars, read to 0.3 points."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What one run ended with.

    Args:
        loss: of the examples measured on.
        accuracy: on them.
        curve: mean training losses, with the forward passes after which they were taken.
    """

    loss: float
    accuracy: float
    curve: Sequence[tuple[int, float]]


def reproduce(
    output: Path,
    forward_passes: int = 400,
    seeds: int = 5,
    batch_size: int = 8,
    model: str = "minilm",
    data: str = "rotten-tomatoes",
    prompts: str = "sentiment-was",
    train_only: str = "encoder.layer.5.*",
    max_length: int = 32,
    shots_per_class: int | None = None,
    test_examples: int = 500,
) -> list[Finding]:
    """Fine-tune with every method and compare accuracies, losses and memory.

    Args:
        output: folder for ``runs.csv``, ``summary.csv``, ``curves.csv`` and, where matplotlib is installed,
            ``lozo.png``; made if need be.
        forward_passes: of every run, even.
        seeds: runs of every method; each draws its training examples, their order and its directions.
        batch_size: examples in a forward pass.
        model: as for the task: a name, or a folder of weights.
        data: labelled text, as for the task.
        prompts: a prompt file, as for the task.
        train_only: pattern of the parameters that methods which train a part of the weights train.
        max_length: tokens of an example.
        shots_per_class: training examples of every class; none for 1000 examples in all.
        test_examples: that are predicted.

    Raises:
        ValueError: forward_passes or seeds is out of its range.
        GraftworkError: the task's package is not installed, or an option of the task is wrong.
    """
    if forward_passes < 4 or forward_passes % 2:
        raise ValueError(f"forward_passes must be even and 4 or more, got {forward_passes}")
    if seeds < 2:
        raise ValueError(f"seeds must be 2 or more, got {seeds}")
    methods, pictured = _possible(), can_draw()
    task_of = partial(
        _task,
        model=model,
        data=data,
        prompts=prompts,
        batch_size=batch_size,
        max_length=max_length,
        shots_per_class=shots_per_class,
        test_examples=test_examples,
        train_only=train_only,
    )
    start = task_of(seed=0, method=None)
    before = start.test_metrics(start.build_model())
    output.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Trained]] = {}
    chosen: dict[str, float] = {}
    peaks: dict[str, int] = {}
    for method in methods:
        tasks = {seed: task_of(seed=seed, method=method) for seed in _SELECTION_SEEDS}
        chosen[method.name] = _best_rate(method, tasks, forward_passes // 2)
        runs = []
        for seed in range(seeds):
            task = task_of(seed=seed, method=method)
            runs.append(train(task, method, chosen[method.name], forward_passes, seed))
            _write_runs(output / "runs.csv", method, chosen[method.name], seed, runs[-1], first=not results)
            if seed == 0:
                peaks[method.name] = _peak(task, method, chosen[method.name])
        results[method.name] = runs
    rows = (
        (name, seed, passes, f"{loss:.6f}")
        for name, runs in results.items()
        for seed, run in enumerate(runs)
        for passes, loss in run.curve
    )
    write_table(output / "curves.csv", ["method", "seed", "forward passes", "training loss"], rows)
    findings = list(_findings(before, results, chosen, peaks, forward_passes))
    write_findings(output, findings)
    if pictured:
        _plot(output / "lozo.png", results, before)
    return findings


def train(
    task: Any, method: Tuning, rate: float, forward_passes: int, seed: int, *, validate: bool = False
) -> Trained:
    """Fine-tune a task's model from its pretrained weights.

    Args:
        task: a ``prompt-classification``.
        method: the optimizer and what a step of it costs.
        rate: its learning rate.
        forward_passes: to spend.
        seed: of the order of examples and of the directions.
        validate: measure on the validation examples, not on the test examples.
    """
    torch.manual_seed(seed)
    model = task.build_model().eval()
    optimizer, step_of = _prepared(model, method, rate, seed)
    batches = iter(task.batches("train", rank=0, world_size=1, seed=seed))
    curve: list[tuple[int, float]] = []
    recent: list[float] = []
    steps = forward_passes // method.passes
    for step in range(1, steps + 1):
        batch = next(batches)
        recent.append(step_of(partial(_loss, task, model, batch)))
        if step % max(1, steps // _RECORDS) == 0:
            curve.append((step * method.passes, statistics.fmean(recent)))
            recent.clear()
    if hasattr(optimizer, "merge"):
        optimizer.merge()
    metrics = (task.evaluate if validate else task.test_metrics)(model)
    return Trained(float(metrics["loss"]), float(metrics["accuracy"]), curve)


def _prepared(
    model: nn.Module, method: Tuning, rate: float, seed: int
) -> tuple[torch.optim.Optimizer, Callable[[Callable[[], torch.Tensor]], float]]:
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    optimizer: Any = method.make(named, lr=rate)
    if getattr(optimizer, "closure", None) == "loss":
        for group in optimizer.param_groups:
            group["seed"] = seed
        optimizer.attach(model)
        return optimizer, lambda loss: float(optimizer.step(loss))

    def with_gradients(loss: Callable[[], torch.Tensor]) -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(value.detach())

    return optimizer, with_gradients


def _loss(task: Any, model: nn.Module, batch: Any) -> torch.Tensor:
    loss: torch.Tensor = task.loss(model, batch)[0]
    return loss


def _task(
    *, seed: int, method: Tuning | None, train_only: str, shots_per_class: int | None, **options: Any
) -> Any:
    sizes: dict[str, Any] = {"shots_per_class": shots_per_class}
    if shots_per_class is None:
        sizes = {"train_examples": 1000, "validation_examples": 500}
    sizes |= {"train_only": [train_only]} if method is not None and method.part else {}
    sizes |= {"lora_rank": method.lora_rank} if method is not None else {}
    given = {"data_seed": seed, **options, **sizes}
    # What is None is left to its default, as in a recipe.
    chosen = {name: value for name, value in given.items() if value is not None}
    return choose(Kind.TASK, "prompt-classification", chosen)()


def _possible() -> Sequence[Tuning]:
    """Return the methods for which everything is installed."""
    if not LORA.missing:
        return METHODS
    print(f"without {LORA.when}, for which peft is not installed: pip install '{LORA.requirement}'")
    return [method for method in METHODS if method.lora_rank is None]


def _best_rate(method: Tuning, tasks: dict[int, Any], forward_passes: int) -> float:
    """Return the learning rate of the grid with the smallest mean loss; what is no number never wins."""
    means: dict[float, float] = {}
    for rate in method.rates:
        losses = [
            train(task, method, rate, forward_passes, seed, validate=True).loss
            for seed, task in tasks.items()
        ]
        means[rate] = statistics.fmean(losses) if all(map(math.isfinite, losses)) else math.inf
    return min(means, key=lambda rate: means[rate])


def _peak(task: Any, method: Tuning, rate: float) -> int:
    """Return the bytes that training takes beyond the model: state, gradients, and what a step allocates."""
    model = task.build_model().eval()
    batch = next(iter(task.batches("train", rank=0, world_size=1, seed=0)))

    def two_steps() -> None:
        _, step_of = _prepared(model, method, rate, 0)
        for _ in range(2):
            step_of(partial(_loss, task, model, batch))

    return peak_allocation(two_steps)


def _findings(
    before: Any,
    results: dict[str, list[Trained]],
    chosen: dict[str, float],
    peaks: dict[str, int],
    forward_passes: int,
) -> Iterator[Finding]:
    yield Finding("test accuracy before training", None, float(before["accuracy"]))
    yield Finding("test loss before training", None, float(before["loss"]))
    for method in METHODS:
        if method.name not in results:
            continue
        runs, published = results[method.name], method.published
        accuracy, accuracies = _mean_and_spread([run.accuracy for run in runs])
        loss, losses = _mean_and_spread([run.loss for run in runs])
        note = f"+- {accuracies:.3f} over {len(runs)} seeds, lr {chosen[method.name]:g}"
        if published is not None:
            note += "; other data, RoBERTa-large, published: SNLI {:g}, MNLI {:g}, RTE {:g} %".format(
                *published
            )
        yield Finding(
            f"test accuracy after {forward_passes} forward passes, {method.name}", None, accuracy, note
        )
        yield Finding(
            f"test loss after {forward_passes} forward passes, {method.name}", None, loss, f"+- {losses:.3f}"
        )
    for name, peak in peaks.items():
        yield Finding(f"peak memory beyond the weights, {name}, MiB", None, peak / 2**20, "batch of the run")
    if "MeZO" in results and "LOZO" in results:
        pairs = zip(results["LOZO"], results["MeZO"], strict=True)
        difference, spread = _mean_and_spread([one.loss - other.loss for one, other in pairs])
        yield Finding(
            "test loss of LOZO less that of MeZO, same seeds",
            None,
            difference,
            f"+- {spread:.3f}; parity is what theory allows a step",
        )


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values)


def _write_runs(path: Path, method: Tuning, rate: float, seed: int, run: Trained, *, first: bool) -> None:
    """Append a run as soon as it is made, so that an interrupted reproduction leaves what it had."""
    fresh = first and seed == 0
    with path.open("w" if fresh else "a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(["method", "learning rate", "seed", "test loss", "test accuracy"])
        writer.writerow([method.name, f"{rate:g}", seed, f"{run.loss:.6f}", f"{run.accuracy:.6f}"])


def _plot(path: Path, results: dict[str, list[Trained]], before: Any) -> None:
    """Draw mean training losses against forward passes, and every run's accuracy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    curves, dots = figure.subplots(1, 2)
    for place, (name, runs) in enumerate(results.items()):
        color = f"C{place}"
        passes = [point[0] for point in runs[0].curve]
        means = [
            statistics.fmean(values) for values in zip(*([p[1] for p in r.curve] for r in runs), strict=True)
        ]
        curves.plot(passes, means, color=color, label=name)
        dots.plot([place] * len(runs), [run.accuracy for run in runs], "o", color=color, alpha=0.6)
        dots.plot(
            [place - 0.2, place + 0.2], [statistics.fmean(run.accuracy for run in runs)] * 2, color=color
        )
    curves.set(xlabel="forward passes", ylabel="training loss, mean over seeds")
    curves.legend(fontsize="small")
    dots.axhline(float(before["accuracy"]), color="grey", linestyle=":", label="before training")
    dots.set(ylabel="test accuracy", xticks=range(len(results)))
    dots.set_xticklabels(list(results), rotation=25, ha="right")
    dots.legend(fontsize="small")
    figure.savefig(path, dpi=150)
