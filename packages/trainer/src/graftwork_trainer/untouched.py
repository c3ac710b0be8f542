"""A process that trains and goes on, as a notebook's does: what a training changes of it is put back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from graftwork_trainer.random_state import RandomState

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def process_as_before() -> Iterator[None]:
    """Put back, when the block ends, the global generators, the device, and torch's choice of algorithms.

    CUDA's generators and device count where CUDA was in use before.
    """
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(_CUBLAS)
    generators = RandomState.capture(torch.device("cpu"))
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    states = torch.cuda.get_rng_state_all() if cuda else []
    device = torch.cuda.current_device() if cuda else 0
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        if workspace is None:
            os.environ.pop(_CUBLAS, None)
        generators.restore()
        if cuda:
            torch.cuda.set_rng_state_all(states)
            torch.cuda.set_device(device)
