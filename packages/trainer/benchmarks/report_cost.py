"""What a report costs: 200 runs in less than 10 seconds, a million lines of metrics in 300 MB at most.

Both are `graftwork report` in a process of its own, with figures, over runs made here: 50 variants of four
seeds with 700 records each, and one run of a million records. Of a busy machine the processor's seconds are
the figure to look at; both are printed, and the bar is held against the smaller one.

python packages/trainer/benchmarks/report_cost.py [RUNS [LINES]]
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MOST_SECONDS, MOST_MEGABYTES = 10.0, 300.0
SEEDS = 4
RECORDS = 700
DIRECTIONS = {"validation/perplexity": "lower", "validation/loss": "lower", "train/loss": "lower"}


def write_run(folder: Path, variant: int, seed: int, records: int) -> None:
    """A run of a language model as `graftwork train` leaves it, with noise that no generator needs."""
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(
        '[task]\nname = "lm-pretrain"\n[model]\nname = "llama-tiny"\n'
        f'[optimizer]\nname = "adamw"\nlr = {1e-3 + variant * 1e-4:g}\n'
        f'[trainer]\nname = "standard"\nsteps = {records}\nseed = {seed}\n'
    )
    (folder / "environment.json").write_text(
        json.dumps({"device": "cpu", "data": {"corpus": "prose"}, "metric_directions": DIRECTIONS})
    )
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, records + 1):
            loss = 4 + variant / 100 + 3 / math.sqrt(step) + math.sin(step * 12.9898 + seed) / 10
            record = {
                "step": step,
                "seconds": step * 0.08,
                "train/gradient_norm": 1 + math.sin(step * 78.233) / 2,
                "train/loss": loss,
                "train/tokens_per_second": 9000.0 + step % 7,
                "train/learning_rate": 1e-3,
            }
            file.write(json.dumps(record) + "\n")
            if step % max(1, records // 10) == 0:
                told = {"validation/loss": loss, "validation/perplexity": math.exp(loss)}
                file.write(json.dumps({"step": step, "seconds": step * 0.08, **told}) + "\n")
    result = {
        "status": "finished",
        "steps": records,
        "metrics": {"validation/loss": loss, "validation/perplexity": math.exp(loss)},
        "parameters": 1836672,
        "optimizer_state_bytes": 10_000_000 - variant,
        "step_seconds": {"median": 0.08, "p10": 0.07, "p90": 0.1},
        "peak_memory_bytes": 400_000_000,
        "unit": "tokens",
        "units": records * 2048,
        "units_per_second": 25600.0,
        "wall_seconds": records * 0.08,
    }
    (folder / "result.json").write_text(json.dumps(result))


def measured(runs: Path, output: Path) -> tuple[float, float, float]:
    """Elapsed and processor seconds of a report, and the most memory that its process took, in megabytes."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "graftwork", "report", str(runs), "--out", str(output)]
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"graftwork report ended with {process.returncode}")
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * kilobyte / 1e6


def verdict(what: str, value: float, bar: float, unit: str) -> bool:
    """Print a figure beside its bar."""
    met = value <= bar
    print(f"{what}: {value:.1f} {unit} (bar {bar:g} {unit}: {'met' if met else 'MISSED'})")
    return met


def main(runs: int, lines: int) -> int:
    """Measure both; 1 where a bar is missed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place in range(runs):
            variant, seed = divmod(place, SEEDS)
            write_run(folder / "many" / f"lr{variant}-seed{seed}", variant, seed, RECORDS)
        elapsed, computed, size = measured(folder / "many", folder / "of-many")
        print(f"{runs} runs: {elapsed:.1f} s elapsed, {computed:.1f} s of the processor, {size:.0f} MB")
        fast = verdict(f"a report of {runs} runs", min(elapsed, computed), MOST_SECONDS, "s")
        write_run(folder / "long" / "run", 0, 0, lines)
        written = (folder / "long" / "run" / "metrics.jsonl").stat().st_size / 1e6
        elapsed, computed, size = measured(folder / "long", folder / "of-long")
        print(
            f"{lines:,} records, {written:.0f} MB: {elapsed:.1f} s elapsed, {computed:.1f} s of the processor"
        )
        small = verdict(f"the memory of a report of {lines:,} records", size, MOST_MEGABYTES, "MB")
    return 0 if fast and small else 1


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*given, *(200, 1_000_000)[len(given) :]))
