"""What exact loading costs over a bare torch DataLoader with as many workers.

Two datasets, each with 0, 1 and 2 workers: JPEGs of 500 by 375 pixels, decoded, cropped at random to 224 and
flipped; and rows of a tensor, where nothing hides what is added to a sample. The bare loader shuffles, keeps
its workers over epochs and is as far ahead as ours. Both sides take turns, in an order that changes from
round to round. What is compared is processor time, of this process and of the workers from their start to
their end: whatever else the machine does, it says what is added to the work, which is also what it adds to
the time where loading is what takes it. The bars: 3 % on pictures, 100 microseconds a sample on rows.

    python packages/trainer/benchmarks/loading_overhead.py [ROUNDS] [PICTURES]
"""

from __future__ import annotations

import io
import itertools
import random
import resource
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from graftwork_trainer.data.numbered import NumberedStream
from graftwork_trainer.data.source import Source
from graftwork_trainer.data.workers import Loading

PICTURES_BAR = 0.03
ROWS_BAR_SECONDS = 100e-6
BATCH_SIZE = 32


class Pictures:
    """JPEGs in memory, each decoded, cropped at random and flipped: ``[3, 224, 224]`` in 0..1."""

    def __init__(self, count: int = 64) -> None:
        generator = np.random.default_rng(0)
        self._files = [_jpeg(generator) for _ in range(count)]

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, number: int) -> torch.Tensor:
        picture = Image.open(io.BytesIO(self._files[number % len(self._files)])).convert("RGB")
        left, top = (random.randint(0, side - 224) for side in picture.size)
        cropped = picture.crop((left, top, left + 224, top + 224))
        if random.random() < 0.5:
            cropped = cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(cropped)).permute(2, 0, 1).float() / 255


class Rows:
    """Rows of a tensor, ``[16]``."""

    def __init__(self) -> None:
        self._rows = torch.randn(10_000, 16)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self._rows[number]


def _jpeg(generator: np.random.Generator) -> bytes:
    """Noise over a smooth picture, which takes as long to decode as a photograph of its size."""
    small = generator.integers(0, 255, (24, 32, 3), dtype=np.uint8)
    smooth: NDArray[Any] = np.asarray(Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC))
    noisy = np.clip(smooth + generator.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
    written = io.BytesIO()
    Image.fromarray(noisy).save(written, "JPEG", quality=85)
    return written.getvalue()


def bare_batches(dataset: Any, workers: int) -> Iterator[Any]:
    """What one writes without a trainer, epoch after epoch."""
    several: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 2} if workers else {}
    loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=workers, **several)
    for _ in itertools.repeat(None):
        yield from loader


def seconds_a_sample(batches: Any, count: int) -> float:
    """Processor time per sample, of all processes that make a number of batches."""
    started = _processor_seconds()
    for _ in range(count):
        next(batches)
    batches.close()
    return (_processor_seconds() - started) / (count * BATCH_SIZE)


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def compare(dataset: Any, workers: int, rounds: int, count: int) -> list[tuple[float, float]]:
    """Seconds a sample, bare and ours, round by round; the first round, which warms up, is left out."""
    measured = []
    for number in range(rounds + 1):
        source = Source(dataset=dataset, batch_size=BATCH_SIZE)
        loading = Loading(workers=workers)
        sides: dict[str, Any] = {
            "bare": bare_batches(dataset, workers),
            "ours": NumberedStream(source, loading, rank=0, world_size=1, seed=number),
        }
        names = list(sides) if number % 2 else list(reversed(sides))
        times = {name: seconds_a_sample(sides[name], count) for name in names}
        measured.append((times["bare"], times["ours"]))
    return measured[1:]


def main(rounds: int, pictures: int) -> None:
    """Print what is added against each bar: of the least times, since what disturbs only ever adds."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {rounds} rounds")
    for workers in (0, 1, 2):
        bare, ours, spread = _least(compare(Pictures(), workers, rounds, pictures // BATCH_SIZE))
        added = ours / bare - 1
        verdict = "met" if added <= PICTURES_BAR else "MISSED"
        print(
            f"pictures, {workers} workers: {1e3 * bare:.2f} ms, {added:+.1%} "
            f"(bare ones spread over {spread:.0%}; bar {PICTURES_BAR:.0%}: {verdict})"
        )
    for workers in (0, 1, 2):
        bare, ours, spread = _least(compare(Rows(), workers, rounds, 200))
        verdict = "met" if ours - bare <= ROWS_BAR_SECONDS else "MISSED"
        print(
            f"rows, {workers} workers: {1e6 * bare:.1f} µs, {1e6 * (ours - bare):+.1f} µs "
            f"(bare ones spread over {spread:.0%}; bar {1e6 * ROWS_BAR_SECONDS:.0f} µs: {verdict})"
        )


def _least(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """The least of either side, and by how much those of the bare one differ."""
    bare, ours = (list(column) for column in zip(*pairs, strict=True))
    return min(bare), min(ours), max(bare) / min(bare) - 1


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]] + [8, 640][len(sys.argv) - 1 :]
    main(*arguments)
