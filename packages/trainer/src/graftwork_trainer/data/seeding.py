"""Randomness of samples: torch's, NumPy's and Python's global generators, seeded for each sample alone.

What a sample draws then depends on nothing but the seed, the epoch and its number: not on the process that
makes it, nor on what was made before.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from graftwork_trainer.random_state import RandomState


def seed_generators(*numbers: int) -> None:
    """Seed the three global generators, each otherwise.

    Args:
        numbers: what the seeds follow from, below 2**63 in size.
    """
    packed = struct.pack(f"<{len(numbers)}q", *numbers)
    # Two of them are the same algorithm: from one seed, both would draw the same numbers.
    digest = hashlib.blake2b(packed, digest_size=20).digest()
    for_torch, for_numpy, for_python = struct.unpack("<QIQ", digest)
    # torch.manual_seed takes note of the seed for devices that nobody uses here, at 0.2 ms a call.
    torch.default_generator.manual_seed(for_torch)
    np.random.seed(for_numpy)
    random.seed(for_python)


@contextmanager
def drawing_alike(rank: int) -> Iterator[None]:
    """Have what makes the data draw the same each time, and change no generator.

    A part that is split off at random is then the same for training and evaluation, and after a resumption.

    Args:
        rank: that draws for itself.
    """
    state = RandomState.capture(torch.device("cpu"))
    seed_generators(rank)
    try:
        yield
    finally:
        state.restore()


@contextmanager
def as_in_a_worker() -> Iterator[None]:
    """Have what is drawn change no generator, and compute with one thread, as worker processes do.

    Sums over several threads have other last bits.
    """
    threads = torch.get_num_threads()
    state = RandomState.capture(torch.device("cpu"))
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        state.restore()
