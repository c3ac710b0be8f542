"""Time of every way to mix stacked agents, and whether the cost model finds the fastest.

    python packages/decentral/benchmarks/stacked_mixing.py [--threads 1] [--rounds 7] [--quick]

Three parts: a ring beside ``torch.clone`` of the same rows, with a new result and into one that is there; the
path that the model names beside the fastest of them, for several graphs, numbers of agents and of parameters
(at most 1.5 times is wanted); and one flat buffer beside mixing tensor by tensor (at least 2 times), for
sixteen agents with the parameters of a ResNet-18 whose channels are divided by the square root of eight:
where every agent has tensors of its own, whose weighted sums are taken one by one, or which are stacked,
multiplied and copied back, and where they are stacked already.

Every round calls every contestant once, and times are the least of all rounds: others use the machine too.
Of one thread they are CPU times. A path that is predicted to take six times as long as another, and over 20
ms, is not run. Nothing is timed if the paths do not agree.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from graftwork_decentral.communication.paths import dense, gathered, rowwise
from graftwork_decentral.communication.paths.choice import mixed_by
from graftwork_decentral.communication.paths.cost_model import ANY_WEIGHTS, PATHS, PathName, predicted
from graftwork_decentral.communication.paths.plan import MixPlan

GRAPHS = ("ring", "torus", "exponential", "full")
AGENTS = (8, 16, 32, 64, 128, 256)
PARAMETERS = (1_000, 10_000, 100_000, 1_000_000)
MOST_ELEMENTS = 1 << 25
MOST_RATIO = 1.5
LEAST_FLAT_RATIO = 2.0
SHRINK = 8

Calls = Mapping[str, Callable[[], object]]


def plan_of(graph: str, agents: int) -> MixPlan:
    """Return equal weights, 1 over one more than the largest degree."""
    down = 2 ** (int(math.log2(agents)) // 2)
    across = agents // down
    near = []
    for agent in range(agents):
        row, column = divmod(agent, across)
        around = {
            "ring": {agent - 1, agent + 1},
            "torus": {
                *((row + side) % down * across + column for side in (-1, 1)),
                *(row * across + (column + side) % across for side in (-1, 1)),
            },
            "exponential": {agent + 2**power for power in range((agents - 1).bit_length())},
            "full": set(range(agents)),
        }[graph]
        near.append(sorted({other % agents for other in around} - {agent}))
    neighbours = torch.tensor(near)
    weights = torch.full(neighbours.shape, 1 / (1 + neighbours.shape[1]), dtype=torch.float64)
    matrix = torch.zeros(agents, agents, dtype=torch.float64).scatter_(1, neighbours, weights)
    return MixPlan(torch.arange(agents), neighbours, weights, matrix + torch.diag(1 - matrix.sum(1)))


def paths_on(known: Tensor, plan: MixPlan, out: Tensor | None) -> dict[PathName, Callable[[], Tensor]]:
    """Return a call of every path."""
    return {
        "gathered": lambda: gathered.mix(known, plan, out),
        "rowwise": lambda: rowwise.mix(known, plan, out),
        "dense": lambda: dense.mix(known, plan, out),
        "plain": lambda: dense.mix(known, plan, out, centred=False),
    }


def least_seconds(calls: Calls, rounds: int) -> dict[str, float]:
    """Return the least time of every call over all rounds, of which there are more if they are short."""
    seconds, start_of_all, done = dict.fromkeys(calls, math.inf), time.perf_counter(), 0
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    while done < rounds or (done < 10 * rounds and time.perf_counter() - start_of_all < 0.05):
        for name, call in calls.items():
            start = clock()
            call()
            seconds[name] = min(seconds[name], clock() - start)
        done += 1
    return seconds


def check() -> None:
    """Stop the program if the paths do not agree."""
    for graph in GRAPHS:
        known, plan = torch.randn(32, 1001), plan_of(graph, 32)
        mixed = {name: call() for name, call in paths_on(known, plan, None).items()}
        exact = (plan.dense @ known.double()).float()
        if not torch.equal(mixed["gathered"], mixed["rowwise"]):
            sys.exit(f"{graph}: gathered and rowwise differ; nothing is timed")
        for name, result in mixed.items():
            if not torch.allclose(result, exact, rtol=1e-5, atol=1e-5):
                sys.exit(f"{graph}: {name} is wrong; nothing is timed")


def beside_clone(rounds: int) -> None:
    """Print the time of mixing a ring."""
    print("\nring, times that of torch.clone of the rows; in brackets, into memory there, that of a copy")
    print(
        f"{'agents':>6}  {'parameters':>10}  {'clone ms':>8}  {'copy ms':>8}",
        *(f"{name:>14}" for name in PATHS),
    )
    for agents in (8, 16, 64):
        for parameters in (10_000, 100_000, (1 << 24) // agents):
            known, plan = torch.randn(agents, parameters), plan_of("ring", agents)
            target = torch.empty_like(known)
            calls: dict[str, Callable[[], object]] = {
                "clone": known.clone,
                "copy": lambda known=known, target=target: target.copy_(known),  # type: ignore[misc]
                **paths_on(known, plan, None),
                **{f"{name} out": call for name, call in paths_on(known, plan, target).items()},
            }
            seconds = least_seconds(calls, rounds)
            cells = (
                f"{seconds[name] / seconds['clone']:6.2f} ({seconds[f'{name} out'] / seconds['copy']:5.2f})"
                for name in PATHS
            )
            times = "  ".join(f"{1e3 * seconds[name]:8.3f}" for name in ("clone", "copy"))
            print(f"{agents:6}  {parameters:10}  {times}", *cells)


def choices(rounds: int, dtype: torch.dtype) -> None:
    """Print where the model's choice is slower than the fastest path."""
    ratios = []
    for graph in GRAPHS:
        for agents in AGENTS:
            plan = plan_of(graph, agents)
            for parameters in PARAMETERS:
                if agents * parameters > MOST_ELEMENTS:
                    continue
                known = torch.randn(agents, parameters).to(dtype)
                foretold = predicted(plan, parameters, dtype)
                limit = max(6 * min(foretold[name] for name in ANY_WEIGHTS), 0.02)
                calls = paths_on(known, plan, torch.empty_like(known))
                seconds = least_seconds(
                    {name: calls[name] for name in ANY_WEIGHTS if foretold[name] <= limit}, rounds
                )
                chosen = min(ANY_WEIGHTS, key=lambda name: foretold[name])
                ratios.append((seconds[chosen] / min(seconds.values()), graph, agents, parameters, chosen))
    ratios.sort(reverse=True)
    over = sum(ratio > MOST_RATIO for ratio, *_ in ratios)
    counts = ", ".join(f"{name} {sum(chosen == name for *_, chosen in ratios)}" for name in ANY_WEIGHTS)
    print(f"\nchoice of the model, {dtype}: {len(ratios)} cases; chosen: {counts}")
    for ratio, graph, agents, parameters, chosen in ratios[:5]:
        print(f"  {ratio:.2f} times the fastest: {graph}, {agents} agents, {parameters} parameters: {chosen}")
    print(f"  over {MOST_RATIO} times: {over}: {'MISSED' if over else 'met'}")


def resnet18_shapes() -> list[tuple[int, ...]]:
    """Return the shapes of the parameters, with channels so many that there are an eighth of them."""

    def channels(count: int) -> int:
        return round(count / math.sqrt(SHRINK))

    def normalized(count: int) -> list[tuple[int, ...]]:
        return [(count,), (count,)]

    first = channels(64)
    shapes: list[tuple[int, ...]] = [(first, 3, 7, 7), *normalized(first)]
    before = first
    for stage in range(4):
        count = channels(64 * 2**stage)
        for block in range(2):
            shapes += [(count, before if block == 0 else count, 3, 3), *normalized(count)]
            shapes += [(count, count, 3, 3), *normalized(count)]
            if block == 0 and stage > 0:
                shapes += [(count, before, 1, 1), *normalized(count)]
        before = count
    return [*shapes, (1000, before), (1000,)]


def flat_or_not(rounds: int) -> None:
    """Print how much faster one flat buffer is than tensors one by one, stacked or every agent's apart."""
    agents, shapes = 16, resnet18_shapes()
    tensors = [torch.randn(agents, *shape) for shape in shapes]
    models = [[tensor[agent].clone() for tensor in tensors] for agent in range(agents)]
    flat = torch.cat([tensor.flatten(1) for tensor in tensors], dim=1)
    plan = plan_of("ring", agents)
    narrow = plan.dense.float()
    neighbourhoods = [row.nonzero().flatten().tolist() for row in narrow]
    target, targets = torch.empty_like(flat), [torch.empty_like(tensor) for tensor in tensors]

    def apart() -> None:
        for parameters in zip(*models, strict=True):
            mixed = torch.tensordot(narrow, torch.stack(parameters), dims=1)
            for parameter, row in zip(parameters, mixed, strict=True):
                parameter.copy_(row)

    def sums() -> None:
        mixed = [
            [
                sum(weights[other] * parameters[other] for other in near)
                for near, weights in zip(neighbourhoods, narrow.tolist(), strict=True)
            ]
            for parameters in zip(*models, strict=True)
        ]
        for parameters, rows in zip(zip(*models, strict=True), mixed, strict=True):
            for parameter, row in zip(parameters, rows, strict=True):
                parameter.copy_(row)

    def each() -> None:
        for tensor, out in zip(tensors, targets, strict=True):
            mixed_by("auto", tensor, plan, out=out)

    seconds = least_seconds(
        {
            "flat": lambda: mixed_by("auto", flat, plan, out=target),
            "apart": apart,
            "sums": sums,
            "each": each,
            "new": lambda: mixed_by("auto", flat, plan),
        },
        rounds,
    )
    print(
        f"\n{agents} agents of {len(shapes)} tensors, {flat.shape[1] / 1e6:.2f}M parameters: flat "
        f"{1e3 * seconds['flat']:.1f} ms ({1e3 * seconds['new']:.1f} ms with a new result)"
    )
    for name, what in (
        ("sums", "every agent's tensors apart, summed one by one"),
        ("apart", "every agent's tensors apart, stacked first"),
        ("each", "stacked tensors, same paths"),
    ):
        ratio = seconds[name] / seconds["flat"]
        verdict = "met" if ratio >= LEAST_FLAT_RATIO else "MISSED"
        print(f"  {what}: {ratio:.2f} times flat; at least {LEAST_FLAT_RATIO:g}: {verdict}")


def main() -> None:
    """Check, then measure for each number of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="leave out the choice of the model")
    arguments = parser.parse_args()
    check()
    print(f"torch {torch.__version__}, CPU, float32 unless said")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(f"\n{threads} thread{'s' * (threads > 1)}, least of {arguments.rounds} rounds or more")
        beside_clone(arguments.rounds)
        flat_or_not(arguments.rounds)
        if not arguments.quick:
            for dtype in (torch.float32, torch.bfloat16):
                choices(arguments.rounds, dtype)


if __name__ == "__main__":
    main()
