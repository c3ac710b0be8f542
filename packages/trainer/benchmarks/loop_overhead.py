"""What the standard trainer costs over a hand-written torch loop: same model, same batches, same optimizer.

Both loops do forward, backward, clipping, the step and the schedule, and read the loss every ten steps. The
trainer adds what a run needs: metrics, timings, a progress bar, signal handling. Each round runs either loop
in a process of its own, at glibc's defaults, as a script and ``graftwork train`` would run; which goes first
alternates. A step is timed from one draw of a batch to the next, so that nothing either loop does escapes.
The ratio is taken round by round; the bar is 2 %.

    python packages/trainer/benchmarks/loop_overhead.py [ROUNDS] [STEPS]
"""

from __future__ import annotations

import hashlib
import itertools
import json
import resource
import statistics
import subprocess
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
from graftwork_trainer.heap import keep_freed_memory
from graftwork_trainer.run_directory import RunDirectory
from graftwork_trainer.schedule import lr_factor

BAR = 0.02
WARM_UP = 5


class Timed:
    """A task whose training batches note when they are drawn, and the page faults so far."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self.draws: list[tuple[float, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def batches(self, split: str, **arguments: Any) -> Iterator[Any]:
        for batch in self._task.batches(split, **arguments):
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            self.draws.append((time.perf_counter(), faults))
            yield batch

    def steps(self) -> list[tuple[float, int]]:
        """Time and page faults from draw to draw, without the first steps."""
        pairs = itertools.pairwise(self.draws)
        return [(later[0] - earlier[0], later[1] - earlier[1]) for earlier, later in pairs][WARM_UP:]


def by_hand(resolved: Resolved, task: Timed, steps: int) -> list[torch.Tensor]:
    """The loop that a researcher writes, weight decay sparing norms and biases."""
    torch.manual_seed(0)
    model = task.build_model().train()
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=resolved.sections["optimizer"]["lr"])
    factor = lr_factor("cosine", steps=steps, warmup_steps=10, final_fraction=0.1)
    scheduler = LambdaLR(optimizer, factor)
    batches = iter(task.batches("train", rank=0, world_size=1, seed=0))
    for step in range(steps):
        batch = next(batches)
        optimizer.zero_grad(set_to_none=True)
        loss, _ = task.loss(model, batch)
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 10 == 9:
            loss.item()
    return [parameter.detach() for parameter in model.parameters()]


def by_trainer(resolved: Resolved, task: Timed) -> list[torch.Tensor]:
    """The same with the standard trainer, as the command runs it."""
    keep_freed_memory()
    built: list[torch.nn.Module] = []
    build_model = task.build_model
    task.build_model = lambda: built.append(build_model()) or built[-1]  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run", resolved, {})
        resolved.trainer().fit(task, resolved, run)
    return [parameter.detach() for parameter in built[0].parameters()]


def worker(which: str, steps: int) -> None:
    """One loop, in this process: print its steps and a digest of the weights."""
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
    weights = by_hand(resolved, task, steps) if which == "hand" else by_trainer(resolved, task)
    digest = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in weights)).hexdigest()
    print(json.dumps({"steps": task.steps(), "digest": digest}))


def main(rounds: int, steps: int) -> None:
    """Alternate the two and print the ratio of their step times against the bar."""
    measured: dict[str, list[tuple[float, float]]] = {"hand": [], "trainer": []}
    digests = set()
    for number in range(rounds + 1):
        # Which goes first changes from round to round, so that a machine that warms or tires favours neither.
        for name in ("hand", "trainer") if number % 2 else ("trainer", "hand"):
            command = [sys.executable, __file__, "worker", name, str(steps)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result = json.loads(printed.splitlines()[-1])
            digests.add(result["digest"])
            if number:  # the first round tokenizes and warms the disk cache
                seconds, faults = zip(*result["steps"], strict=True)
                # The lower quartile: what disturbs a step from outside only ever makes it longer.
                measured[name].append((statistics.quantiles(seconds, n=4)[0], statistics.median(faults)))
    if len(digests) > 1:
        raise SystemExit("the two loops ended with different weights: they do not do the same work")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {rounds} rounds of {steps} steps")
    for name, values in measured.items():
        milliseconds, faults = (statistics.median(column) for column in zip(*values, strict=True))
        print(
            f"{name:<8} {1000 * milliseconds:.2f} ms a step (lower quartile), {faults:.0f} page faults a step"
        )
    ratios = [trainer[0] / hand[0] for hand, trainer in zip(*measured.values(), strict=True)]
    overhead, error = statistics.mean(ratios) - 1, statistics.stdev(ratios) / rounds**0.5
    verdict = "met" if overhead < BAR else "MISSED"
    print(
        f"overhead {overhead:+.2%} ± {error:.2%} (mean of rounds, standard error; bar {BAR:.0%}: {verdict})"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2], int(sys.argv[3]))
    else:
        arguments = [int(argument) for argument in sys.argv[1:]] + [10, 40][len(sys.argv) - 1 :]
        main(*arguments)
