"""Time from `graftwork train` to the end of its first step over a script of ten lines: 1.05 at most.

Both train the same model on the same rows with AdamW, each in a process of its own, in turn. Elapsed and
processor time are from the start of the process to the moment at which the second batch asks for its loss.

python packages/trainer/benchmarks/first_step.py [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MOST = 1.05
SCRIPT = """
import sys, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from told import tell
torch.manual_seed(0)
rows = torch.randn(1024, 64)
model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for number, (x, y) in enumerate(DataLoader(TensorDataset(rows, rows.sum(1, keepdim=True)), 32, shuffle=True)):
    if number == 1:
        tell()
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
"""
PLUGIN = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
from graftwork import register
from told import tell

@register("task")
class Plane:
    '''The sum of a row.'''
    batch_size = 32
    number = 0
    def build_model(self):
        return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 1))
    def dataset(self, split):
        rows = torch.randn(1024, 64)
        return TensorDataset(rows, rows.sum(1, keepdim=True))
    def loss(self, model, batch):
        if self.number == 1:
            tell()
        self.number += 1
        x, y = batch
        return nn.functional.mse_loss(model(x), y), {}
    def evaluate(self, model):
        return {"loss": 0.0}
"""
# Ends the process too: what comes after the first step is not of interest.
TOLD = """
import os, time
def tell():
    print("first step", time.time(), time.process_time(), flush=True)
    os._exit(0)
"""
RECIPE = """
[task]
name = "plane"
[optimizer]
name = "adamw"
[trainer]
steps = 100
device = "cpu"
"""


def seconds(command: list[str], folder: Path) -> tuple[float, float]:
    """Elapsed and processor seconds until the first step has been made."""
    # Without bytecode both would compile torch anew, which flatters the ratio.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(folder)
    started = time.time()
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=folder
    ).stdout
    ended, computed = done.split("first step", 1)[1].split()[:2]
    return float(ended) - started, float(computed)


def main(rounds: int) -> int:
    """Measure in turn, so that a drifting machine drifts for both."""
    graftwork = str(Path(sys.executable).with_name("graftwork"))
    pairs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in {"ten.py": SCRIPT, "plane.py": PLUGIN, "told.py": TOLD, "r.toml": RECIPE}.items():
            (folder / file).write_text(text)
        for number in range(rounds + 1):
            plain = seconds([sys.executable, "ten.py"], folder)
            train = [
                graftwork,
                "--plugin",
                "plane.py",
                "train",
                "r.toml",
                "--out",
                f"run-{number}",
                "--quiet",
            ]
            trained = seconds([sys.executable, *train], folder)
            if number:  # the first round writes bytecode and warms the disk cache
                pairs.append((trained, plain))
    for index, what in enumerate(("elapsed", "processor")):
        ratios = sorted(trained[index] / plain[index] for trained, plain in pairs)
        times = [statistics.median(one[index] for one in column) for column in zip(*pairs, strict=True)]
        print(
            f"{what:<9} train {times[0]:.2f} s, script {times[1]:.2f} s, "
            f"ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )
    ratio = statistics.median(trained[0] / plain[0] for trained, plain in pairs)
    verdict = "met" if ratio <= MOST else "MISSED"
    print(f"first step over a script of ten lines: {ratio:.3f} (bar {MOST}: {verdict})")
    return 0 if ratio <= MOST else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
