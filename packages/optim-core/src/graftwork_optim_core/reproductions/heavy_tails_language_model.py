"""Is the gradient noise of a small language model heavy-tailed, and what follows for the choice of optimizer?

1. gradient noise: the norms ``||g_i - g||`` of the gradients g_i of single sequences about their mean g, at
   the start, in the middle and at the end of a run of AdamW. Hill's estimator on them gives a tail index with
   its standard error: below 2 the variance would be infinite.
2. training: NSGDC, AdamW, SGD and clipped SGD (both with momentum 0.9), each with a grid of learning rates of
   equal length, chosen by the validation loss with one seed, then three other seeds. All warm up and decay
   alike.

Task and model come from other packages, by their registered names.

Raises:
    GraftworkError: they are not installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from graftwork import Finding, Kind, choose
from graftwork_optim_core.normalized.nsgdc import NSGDC
from graftwork_optim_core.plugin import PICTURE
from graftwork_optim_core.reproductions.heavy_tails_noise import hill_estimates
from graftwork_optim_core.reproductions.output import write_table

SEQUENCES = 2048
"""Of which the gradient noise is measured, one by one."""
FRESH_SEEDS = 3
TAIL_FRACTIONS = (0.02, 0.05, 0.1)
_BATCH = 16
_TASK = {
    "model": {"name": "llama-tiny", "hidden_size": 64, "intermediate_size": 172, "layers": 2, "heads": 4},
    "data": "installed-prose",
    "vocabulary_size": 512,
    "sequence_length": 64,
    "batch_size": _BATCH,
    "evaluation_tokens": 16384,
}


class TrainingMethod(NamedTuple):
    """What is trained with.

    Args:
        name: as in the table.
        make: an optimizer of parameters and learning rate.
        rates: the grid.
        clip: largest norm of a gradient; None for no clipping.
    """

    name: str
    make: Callable[..., torch.optim.Optimizer]
    rates: tuple[float, ...]
    clip: float | None = None


METHODS = (
    TrainingMethod("NSGDC", partial(NSGDC, momentum=0.9), (0.03, 0.1, 0.3, 1.0, 3.0)),
    TrainingMethod("AdamW", partial(torch.optim.AdamW, weight_decay=0.0), (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)),
    TrainingMethod("SGD", partial(torch.optim.SGD, momentum=0.9), (0.03, 0.1, 0.3, 1.0, 3.0)),
    TrainingMethod(
        "clipped SGD", partial(torch.optim.SGD, momentum=0.9), (0.03, 0.1, 0.3, 1.0, 3.0), clip=1.0
    ),
)


def make_task() -> Any:
    """Build the task, whose model has some 165,000 parameters.

    Raises:
        GraftworkError: its package is not installed.
    """
    return choose(Kind.TASK, "lm-pretrain", _TASK)()


def fresh_model(task: Any, seed: int) -> nn.Module:
    """Return a model with initial weights of its own, and leave the global generator as it was.

    Args:
        task: builds it.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built: nn.Module = task.build_model()
    return built


def rate_factor(step: int, steps: int) -> float:
    """Return the learning rate's share: up for a tenth of the run, then down along a cosine to a tenth."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.55 + 0.45 * math.cos(math.pi * (step - warm) / max(1, steps - warm))


def train(
    method: TrainingMethod,
    rate: float,
    steps: int,
    seed: int,
    look: Callable[[int, Any, nn.Module], None] | None = None,
) -> float:
    """Train from scratch, and return the validation loss in nats a token.

    Args:
        method: what with.
        rate: the largest learning rate.
        steps: of the run.
        seed: of weights and order of the data.
        look: called before every step and once at the end.
    """
    task = make_task()
    model = fresh_model(task, seed)
    optimizer = method.make(model.parameters(), lr=rate)
    batches: Iterator[Any] = iter(task.batches("train", rank=0, world_size=1, seed=seed))
    for step in range(steps):
        if look is not None:
            look(step, task, model)
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_factor(step, steps)
        optimizer.zero_grad()
        loss, _ = task.loss(model, next(batches))
        loss.backward()
        if method.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), method.clip)
        optimizer.step()
    if look is not None:
        look(steps, task, model)
    final = float(task.evaluate(model)["loss"])
    return final if math.isfinite(final) else math.inf


def noise_norms(task: Any, model: nn.Module, seed: int, sequences: int) -> Tensor:
    """Return the norms of single sequences' gradients about their mean, ``[sequences]``.

    Args:
        task: whose training data is drawn from.
        model: where.
        seed: of the draw.
        sequences: how many, a multiple of the task's batch.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    size = _BATCH
    batches = list(islice(task.batches("train", rank=0, world_size=1, seed=seed), sequences // size))

    def gradient(batch: Any) -> list[Tensor]:
        loss, _ = task.loss(model, batch)
        return list(torch.autograd.grad(loss, parameters))

    means = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
    for batch in batches:
        for mean, one in zip(means, gradient(batch), strict=True):
            mean += one / len(batches)
    norms = []
    for batch in batches:
        for row in range(size):
            single = gradient({name: tensor[row : row + 1] for name, tensor in batch.items()})
            squares = [(a - b).square().sum() for a, b in zip(single, means, strict=True)]
            norms.append(torch.stack(squares).sum().sqrt())
    return torch.stack(norms)


def measure(output: Path, steps: int, seed: int) -> list[Finding]:
    """Measure the noise and train with every method; write two CSVs and a figure.

    Args:
        output: folder for ``gradient_noise.csv``, ``language_model.csv`` and, where matplotlib is installed,
            ``gradient_noise.png``.
        steps: of every run.
        seed: chooses the learning rates; the next three judge them.
    """
    norms: dict[int, Tensor] = {}

    def look(step: int, task: Any, model: nn.Module) -> None:
        if step in (0, steps // 2, steps):
            norms[step] = noise_norms(task, model, seed + 100, SEQUENCES)

    rows: list[tuple[str, float, str, int, float]] = []
    findings = []
    for method in METHODS:
        tried = {rate: train(method, rate, steps, seed) for rate in method.rates}
        rows += [(method.name, rate, "choice", seed, loss) for rate, loss in tried.items()]
        best = min(tried, key=tried.__getitem__)
        losses: list[float] = []
        for fresh in range(seed + 1, seed + 1 + FRESH_SEEDS):
            watched = look if method.name == "AdamW" and not losses else None
            losses.append(train(method, best, steps, fresh, watched))
            rows.append((method.name, best, "judged", fresh, losses[-1]))
        edge = "" if best in method.rates[1:-1] else ", at an end of the grid"
        note = (
            f"lr {best:g}, best of {len(method.rates)}{edge}; {FRESH_SEEDS} other seeds "
            f"{min(losses):.4f} to {max(losses):.4f}, {steps} steps"
        )
        mean = sum(losses) / len(losses)
        findings.append(Finding(f"language model, validation loss, {method.name}", None, mean, note))
    findings += _noise_findings(norms)
    _write(output, norms, rows)
    if not PICTURE.missing:
        _draw(norms, output / "gradient_noise.png")
    return findings


def tail_index(sizes: Tensor, fraction: float) -> tuple[float, float]:
    """Return Hill's estimate by the largest sizes, and its standard error.

    >>> tail_index(torch.arange(1, 1001).div(1000).pow(-0.5), 0.1)[1] > 0.1
    True
    """
    count = max(2, round(fraction * len(sizes)))
    estimate = float(hill_estimates(sizes)[count - 1])
    return estimate, estimate / math.sqrt(count)


def _noise_findings(norms: dict[int, Tensor]) -> Iterator[Finding]:
    for step, sizes in norms.items():
        for fraction in TAIL_FRACTIONS:
            estimate, error = tail_index(sizes, fraction)
            spread = float(sizes.max() / sizes.median())
            yield Finding(
                f"tail index of a sequence's gradient noise, step {step}, largest {fraction:.0%}",
                None,
                estimate,
                f"standard error {error:.2f}; largest over median {spread:.2f}; {len(sizes)} sequences",
            )


def _write(output: Path, norms: dict[int, Tensor], rows: Sequence[tuple[Any, ...]]) -> None:
    heading = ["method", "lr", "purpose", "seed", "validation loss"]
    write_table(output / "language_model.csv", heading, ([*row[:-1], f"{row[-1]:.5f}"] for row in rows))
    found: list[Sequence[object]] = []
    for step, sizes in norms.items():
        ordered, estimates = sizes.sort(descending=True).values, hill_estimates(sizes)
        for place, estimate in enumerate(estimates.tolist()):
            error, size = estimate / math.sqrt(place + 1), float(ordered[place])
            found.append([step, place + 1, f"{size:.6g}", f"{estimate:.4f}", f"{error:.4f}"])
    heading = ["step", "k", "size", "tail index", "standard error"]
    write_table(output / "gradient_noise.csv", heading, found)


def _draw(norms: dict[int, Tensor], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    hill, sizes_axes = figure.subplots(1, 2)
    for number, (step, sizes) in enumerate(norms.items()):
        estimates = hill_estimates(sizes)[: len(sizes) // 4]
        count = torch.arange(1, len(estimates) + 1)
        error = estimates / count.sqrt()
        hill.plot(count, estimates, color=f"C{number}", label=f"step {step}")
        hill.fill_between(count, estimates - error, estimates + error, color=f"C{number}", alpha=0.2)
        sizes_axes.hist(
            sizes.log10().tolist(), bins=40, histtype="step", color=f"C{number}", label=f"step {step}"
        )
    hill.axhline(2, color="black", linestyle=":", label="below: infinite variance")
    hill.set(xlabel="k, sequences taken for the tail", ylabel="Hill's estimate of the tail index")
    hill.set(xlim=(5, None), ylim=(0, 25))
    hill.set_title("gradient noise of single sequences: estimate and standard error", fontsize="small")
    sizes_axes.set(xlabel="log10 of the noise's norm", ylabel="sequences")
    for axes in (hill, sizes_axes):
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
