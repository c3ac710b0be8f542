"""How long `graftwork list` takes as a whole process, against a Python that does nothing.

python packages/core/benchmarks/list_latency.py [ROUNDS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from importlib import metadata

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import pluggy'": ["-c", "import pluggy"],
    "python -m graftwork list": ["-m", "graftwork", "list"],
}


def wall(arguments: list[str]) -> float:
    """Milliseconds of one process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - started)


def main(rounds: int) -> None:
    """Interleave the commands, so that a drifting machine drifts for all of them."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_number in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            elapsed = wall(arguments)
            if round_number:  # the first round writes bytecode and warms the disk cache
                times[name].append(elapsed)
    plugins = {point.dist.name for point in metadata.entry_points(group="graftwork") if point.dist}
    count = len(list(metadata.distributions()))
    print(f"{count} distributions installed, plugins: {', '.join(sorted(plugins))}")
    for name, values in times.items():
        spread = f"{min(values):.1f} to {max(values):.1f}"
        print(f"{name:<28} median {statistics.median(values):6.1f} ms   {spread}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
