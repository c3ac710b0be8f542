"""What the standard trainer costs over a hand-written torch loop: same model, same batches, same optimizer.

Both loops do forward, backward, clipping, the step and the schedule, and read the loss every ten steps. The
trainer adds what a run needs: metrics in two files, timings, a progress bar, signal handling. A step is timed
from one draw of a batch to the next, so that nothing either loop does escapes. Rounds alternate; the ratio is
taken round by round.

    python packages/trainer/benchmarks/loop_overhead.py [ROUNDS] [STEPS]
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LambdaLR

from graftwork import load_recipe, parse_set
from graftwork.resolution import Resolved
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.schedule import lr_factor

WARM_UP = 5
STEADY_HEAP = {
    "MALLOC_TOP_PAD_": str(2**28),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
}


class Timed:
    """A task whose training batches note when they are drawn."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self.draws: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def batches(self, split: str, **arguments: Any) -> Iterator[Any]:
        for batch in self._task.batches(split, **arguments):
            self.draws.append(time.perf_counter())
            yield batch

    def step_seconds(self) -> list[float]:
        """Time from draw to draw, without the first steps."""
        draws, self.draws = self.draws, []
        return [later - earlier for earlier, later in itertools.pairwise(draws)][WARM_UP:]


def by_hand(resolved: Resolved, task: Timed, steps: int) -> list[torch.Tensor]:
    """The loop that a researcher writes."""
    torch.manual_seed(0)
    model = task.build_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=resolved.sections["optimizer"]["lr"])
    factor = lr_factor("cosine", steps=steps, warmup_steps=10, final_fraction=0.1)
    scheduler = LambdaLR(optimizer, factor)
    batches = iter(task.batches("train", rank=0, world_size=1, seed=0))
    losses = []
    for step in range(steps):
        batch = next(batches)
        optimizer.zero_grad(set_to_none=True)
        loss, _ = task.loss(model, batch)
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 10 == 9:
            losses.append(loss.item())
    return [parameter.detach() for parameter in model.parameters()]


def by_trainer(resolved: Resolved, task: Timed) -> list[torch.Tensor]:
    """The same with the standard trainer."""
    built: list[torch.nn.Module] = []
    build_model = task.build_model
    task.build_model = lambda: built.append(build_model()) or built[-1]  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run", resolved, {})
        resolved.trainer().fit(task, resolved, run)
    del task.build_model
    return [parameter.detach() for parameter in built[0].parameters()]


def main(rounds: int, steps: int) -> None:
    """Alternate the two and print the ratio of their median step times."""
    settings = [
        f"trainer.steps={steps}",
        "trainer.warmup_steps=10",
        "trainer.evaluate_every=0",
        "trainer.checkpoint_every=0",
        "trainer.deterministic=false",
        "task.evaluation_tokens=2048",
        "optimizer.name=adamw",
    ]
    resolved = load_recipe("lm-pretrain", [parse_set(text) for text in settings]).resolve()
    task = Timed(resolved.task())
    seconds: dict[str, list[float]] = {"hand": [], "trainer": []}
    for number in range(rounds):
        weights = {}
        # Which goes first changes from round to round, so that a machine that warms or tires favours neither.
        for name in ("hand", "trainer") if number % 2 else ("trainer", "hand"):
            weights[name] = by_hand(resolved, task, steps) if name == "hand" else by_trainer(resolved, task)
            # The lower quartile: what disturbs a step from outside only ever makes it longer.
            seconds[name].append(statistics.quantiles(task.step_seconds(), n=4)[0])
        if not all(torch.equal(a, b) for a, b in zip(*weights.values(), strict=True)):
            raise SystemExit("the two loops ended with different weights: they do not do the same work")
    ratios = [trainer / hand for hand, trainer in zip(*seconds.values(), strict=True)]
    error = statistics.stdev(ratios) / rounds**0.5
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {rounds} rounds of {steps} steps")
    for name, values in seconds.items():
        milliseconds = 1000 * statistics.median(values)
        print(f"{name:<8} lower quartile of a step, median over rounds: {milliseconds:.2f} ms")
    print(
        f"overhead {statistics.mean(ratios) - 1:+.2%} ± {error:.2%} (mean over rounds and its standard error)"
    )


def with_a_steady_heap() -> None:
    """Start again with glibc told not to give freed memory back.

    Which of two loops lets go of its last large tensor first decides whether glibc trims the heap at every
    step and faults it in again: with the default settings that alone made identical work differ by several
    per cent.
    """
    if STEADY_HEAP.items() - os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **STEADY_HEAP})


if __name__ == "__main__":
    with_a_steady_heap()
    arguments = [int(argument) for argument in sys.argv[1:]] + [24, 30][len(sys.argv) - 1 :]
    main(*arguments)
