"""Adam in eight bits: how near it is to Adam, and what is stored."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from graftwork_optim_core import SubspaceOptimizer
from graftwork_optim_core.common.sharding import Rows
from graftwork_optim_core.hosts.adam8bit import LEAST_ELEMENTS, Adam8bitHost
from graftwork_optim_core.hosts.adamw import AdamWHost
from graftwork_optim_core.subspace.host import UpdateHost
from graftwork_optim_core.subspace.site import Site

HOST = Adam8bitHost()
SITE = Site((1, 1), Rows(torch.zeros(1, 1)))


def fresh(host: UpdateHost, shape: tuple[int, int], dtype: torch.dtype = torch.float32) -> list[list[Tensor]]:
    return [[torch.zeros(slot.shape, dtype=slot.dtype or dtype)] for slot in host.slots(shape).values()]


def test_a_fresh_state_is_zero() -> None:
    for average in HOST.load(fresh(HOST, (8, 600)), torch.float64, copy=False):
        assert average[0].dtype == torch.float64
        assert not average[0].any()


def test_small_weights_and_vectors_keep_their_averages() -> None:
    for shape in ((8, LEAST_ELEMENTS // 8 - 1), (1, 2 * LEAST_ELEMENTS)):
        assert HOST.slots(shape) == AdamWHost().slots(shape)
    assert list(HOST.slots((8, LEAST_ELEMENTS // 8))) == [
        "exp_avg",
        "exp_avg_scale",
        "exp_avg_sq",
        "exp_avg_sq_scale",
    ]


def test_what_is_stored_is_loaded_and_stored_the_same() -> None:
    stored = fresh(HOST, (8, 600))
    working = HOST.load(stored, torch.float64, copy=True)
    gradient = torch.randn(8, 600).double()
    HOST.accumulate(working, [gradient], [1.0], [SITE])
    assert not any(bool(one[0].any()) for one in stored)
    HOST.store(working, stored, None)
    codes = [one[0].clone() for one in stored]
    loaded = HOST.load(stored, torch.float64, copy=True)
    for one, two in zip(loaded, working, strict=True):
        torch.testing.assert_close(one[0], two[0], rtol=0.3, atol=1e-4 * float(two[0].abs().max()))
    HOST.store(loaded, stored, None)
    assert all(torch.equal(one[0], former) for one, former in zip(stored, codes, strict=True))


def test_the_mean_square_has_the_map_without_signs() -> None:
    """Twice as fine, and nothing positive becomes zero: a mean over such a root would have no bound."""
    stored = fresh(HOST, (8, 600))
    mean_square = torch.rand(8, 600).square() + 1e-12
    HOST.store([[torch.zeros(8, 600)], [mean_square]], stored, None)
    _, (loaded,) = HOST.load(stored, torch.float32, copy=False)
    assert bool((loaded > 0).all())
    large = mean_square > 0.1 * mean_square.amax()
    torch.testing.assert_close(loaded[large], mean_square[large], rtol=0.037, atol=0)


@pytest.mark.parametrize("shape", [(8, 600), (2, 5)])
def test_a_gate_keeps_what_is_stored(shape: tuple[int, int]) -> None:
    stored = [one * 2 for one in fresh(HOST, shape)]
    working = HOST.load(stored, torch.float32, copy=True)
    bad, good = torch.full(shape, math.nan), torch.randn(shape)
    HOST.accumulate(working, [bad, good], [1.0, 1.0], [SITE, SITE])
    stored = [[tensor.clone() for tensor in one] for one in stored]
    HOST.store(working, stored, [torch.tensor(False), torch.tensor(True)])
    assert not any(bool(one[0].any()) for one in stored)
    assert all(bool(one[1].any()) for one in stored)


def test_a_run_of_rows_is_stored_as_in_the_whole() -> None:
    whole, parts = fresh(HOST, (12, 700)), fresh(HOST, (12, 700))
    for step in range(3):
        gradient = torch.randn(12, 700)
        for stored, runs in ((whole, [slice(None)]), (parts, [slice(0, 5), slice(5, 12)])):
            for rows in runs:
                views = [[one[0][rows]] for one in stored]
                working = HOST.load(views, torch.float32, copy=False)
                HOST.accumulate(working, [gradient[rows]], [step + 1.0], [SITE])
                HOST.store(working, views, None)
    assert all(torch.equal(one[0], two[0]) for one, two in zip(whole, parts, strict=True))


def test_state_is_a_quarter_of_adams() -> None:
    weight = nn.Parameter(torch.zeros(64, 1024))
    total = SubspaceOptimizer([weight], host="adam8bit", transform="identity").state_bytes().total
    assert total == 2 * (64 * 1024 + 64 * 4 * 4) + 4
    coarse = SubspaceOptimizer([weight], host="adam8bit").state_bytes().total
    assert coarse == 2 * (64 * 256 + 64 * 4) + 4
    narrow = SubspaceOptimizer([weight], host="adam8bit", state_dtype="bfloat16").state_bytes().total
    assert narrow == coarse


def trained(host: str, transform: str, steps: int = 200) -> float:
    """Return the validation loss of a network of two layers after steps of regression."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.logspace(0, -1.5, 64)
    target = torch.randn(64, 16, generator=generator) / 2
    first = nn.Parameter(torch.randn(256, 64, generator=generator) / 8)
    second = nn.Parameter(torch.randn(16, 256, generator=generator) / 16)
    optimizer = SubspaceOptimizer([first, second], lr=3e-3, host=host, transform=transform, fused=False)

    def loss_of(count: int) -> Tensor:
        inputs = torch.randn(count, 64, generator=generator) * sizes
        return (torch.tanh(inputs @ first.T) @ second.T - torch.sin(inputs @ target)).square().mean()

    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(64).backward()
        optimizer.step()
    # Without a transform both layers are quantized, with one the first.
    quantized = [state["exp_avg"].dtype == torch.uint8 for state in optimizer.state.values()]
    assert quantized == [host == "adam8bit", host == "adam8bit" and transform == "identity"]
    with torch.no_grad():
        return float(loss_of(2048))


@pytest.mark.parametrize("transform", ["identity", "wavelet"])
def test_training_ends_where_adam_ends(transform: str) -> None:
    in_full, untrained = trained("adamw", transform), trained("adamw", transform, steps=0)
    assert in_full < 0.5 * untrained
    assert trained("adam8bit", transform) == pytest.approx(in_full, rel=0.01)
