"""How long `graftwork list` takes as a whole process, beside importing torch: 4 % at most, 3 % the goal.

python packages/core/benchmarks/list_latency.py [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

MOST, GOAL = 0.04, 0.03
SCRIPT = str(Path(sys.executable).with_name("graftwork"))
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "importlib.metadata, pluggy": ["-c", "import importlib.metadata, pluggy"],
    "graftwork list": [SCRIPT, "list"],
    "python -c 'import torch'": ["-c", "import torch"],
}


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Elapsed and processor seconds of one process."""
    # Without bytecode every round would compile torch anew, which flatters the ratio.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
    elapsed, after = time.perf_counter() - started, os.times()
    return elapsed, sum(
        getattr(after, f"children_{part}") - getattr(before, f"children_{part}")
        for part in ("user", "system")
    )


def main(rounds: int) -> None:
    """Interleave the commands, so that a drifting machine drifts for all of them."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for round_number in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            measured = seconds(arguments)
            if round_number:  # the first round writes bytecode and warms the disk cache
                times[name].append(measured)
    plugins = {point.dist.name for point in metadata.entry_points(group="graftwork") if point.dist}
    count = len(list(metadata.distributions()))
    print(f"{count} distributions installed, plugins: {', '.join(sorted(plugins))}")
    for name, values in times.items():
        elapsed, computed = (sorted(1000 * one for one in column) for column in zip(*values, strict=True))
        spread = f"{elapsed[0]:.1f} to {elapsed[-1]:.1f}"
        print(
            f"{name:<28} median {statistics.median(elapsed):7.1f} ms ({spread}), "
            f"processor {statistics.median(computed):7.1f} ms"
        )
    pairs = zip(times["graftwork list"], times["python -c 'import torch'"], strict=True)
    ratio = statistics.median(listing[0] / torch[0] for listing, torch in pairs)
    verdict = "goal met" if ratio <= GOAL else "met" if ratio <= MOST else "MISSED"
    print(f"list over import torch: {ratio:.2%} (bar {MOST:.0%}, goal {GOAL:.0%}: {verdict})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
