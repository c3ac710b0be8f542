"""What ``DecentralizedOptimizer`` costs where there is nothing to exchange: one agent beside its optimizer.

    python benchmarks/one_agent_overhead.py

A training step (forward, backward, step) of a small multilayer perceptron and of a wide one, by SGD with
momentum and by AdamW. Both contestants take turns, and the order changes every round; the ratio is taken
within a round and its median printed. The bar is 3 %. Nothing is reported unless both end at the same
weights, bit for bit.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from graftwork_decentral import AgentBank, DecentralizedOptimizer, StackedCommunicator, exact_diffusion, full

BAR = 1.03
INNER: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD, momentum": partial(torch.optim.SGD, lr=1e-3, momentum=0.9),
    "AdamW": partial(torch.optim.AdamW, lr=1e-3),
}


def network(width: int) -> nn.Module:
    """Return a perceptron of three layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


def step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> None:
    """Take one training step."""
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(inputs), labels).backward()
    optimizer.step()


def seconds(action: Callable[[], None], repeats: int) -> float:
    """Return the time of one of some repeats."""
    started = time.perf_counter()
    for _ in range(repeats):
        action()
    return (time.perf_counter() - started) / repeats


def measure(width: int, batch: int, inner: str, rounds: int, repeats: int) -> tuple[float, float]:
    """Return the inner optimizer's seconds a step and the ratio to it, medians over rounds."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(batch, 64, generator=generator)
    labels = torch.randint(10, (batch,), generator=generator)
    alone = network(width)
    bank = AgentBank([copy.deepcopy(alone)])
    alone_optimizer = INNER[inner](alone.parameters())
    # A correction around AdamW is refused where there are others; alone there is nothing to correct.
    wrapped = DecentralizedOptimizer(
        bank, lambda model: INNER[inner](model.parameters()), exact_diffusion(), StackedCommunicator(full(1))
    )
    actions = [
        partial(step, alone, alone_optimizer, inputs, labels),
        partial(step, bank.models[0], wrapped, inputs, labels),
    ]
    for action in actions:
        seconds(action, 10)
    base, ratios = [], []
    for number in range(rounds):
        times = [0.0, 0.0]
        for index in (0, 1) if number % 2 else (1, 0):
            times[index] = seconds(actions[index], repeats)
        base.append(times[0])
        ratios.append(times[1] / times[0])
    for one, other in zip(alone.parameters(), bank.models[0].parameters(), strict=True):
        if not torch.equal(one, other):
            sys.exit("refused to report: the wrapped optimizer ends at other weights")
    return statistics.median(base), statistics.median(ratios)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, CPU, {arguments.threads} thread(s), {arguments.rounds} rounds")
    print(f"{'network':<22}{'inner optimizer':<18}{'alone, ms':>10}{'ratio':>8}   bar <= {BAR}")
    worst = 0.0
    for width, batch, repeats in ((64, 32, 40), (256, 128, 20), (1024, 128, 4)):
        for inner in INNER:
            base, ratio = measure(width, batch, inner, arguments.rounds, repeats)
            worst = max(worst, ratio)
            verdict = "met" if ratio <= BAR else "MISSED"
            print(
                f"64-{width}-{width}-10, {batch:<8}{inner:<18}{1000 * base:>10.3f}{ratio:>8.3f}   {verdict}"
            )
    print(f"largest ratio {worst:.3f}: {'within' if worst <= BAR else 'over'} the bar of {BAR}")


if __name__ == "__main__":
    main()
