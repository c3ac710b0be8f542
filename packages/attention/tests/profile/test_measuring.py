"""What is measured of one mixer: bytes that can be worked out by hand, and times that grow.

Reached from here: ``profile/running.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graftwork import GraftworkError
from graftwork_attention.mixers.sdpa import SoftmaxAttention
from graftwork_attention.profile.measuring import Cost, Subject
from graftwork_attention.profile.running import Setting, run


class Map(nn.Module):
    """One linear map: it keeps its input, and nothing else."""

    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int) -> None:
        super().__init__()
        self.map = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y: Tensor = self.map(x)
        return y


class Twice(Map):
    """Keeps the input of the second map, too, and gives the first one's storage out twice."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y: Tensor = self.map(self.map(x))
        return y


def subject(build: Any, **other: Any) -> Subject:
    sizes = {"dim": 16, "heads": 2, "length": 32, "batch": 3, **other}
    return Subject(build, device=torch.device("cpu"), dtype=torch.float32, **sizes)


def test_bytes_kept_for_backward_are_those_of_the_tensors() -> None:
    tokens = 3 * 32 * 16 * 4
    assert subject(Map).saved_bytes() == tokens
    assert subject(Twice).saved_bytes() == 2 * tokens


def test_bytes_of_softmax_attention_grow_with_the_tokens() -> None:
    long, short = (subject(SoftmaxAttention, length=length).saved_bytes() for length in (256, 64))
    assert long == pytest.approx(4 * short, rel=0.1)


def test_peak_memory_holds_the_output_and_the_gradients() -> None:
    tokens, weights = 3 * 32 * 16 * 4, (16 * 16 + 16) * 4
    peak = subject(Map).peak_bytes()
    # Output, what is weighed with it and the gradient by the input; then the weights' gradients.
    assert 2 * tokens + weights <= peak <= 5 * tokens + 4 * weights


def test_equal_subjects_have_equal_weights_and_leave_the_generator() -> None:
    state = torch.get_rng_state()
    one, two = subject(SoftmaxAttention), subject(SoftmaxAttention)
    assert torch.equal(one.module.query.weight, two.module.query.weight)  # type: ignore[union-attr,arg-type]
    assert torch.equal(one.x, two.x)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_mixer_has_every_length_and_as_many_rounds() -> None:
    setting = Setting(dim=16, heads=2, lengths=(8, 32), seconds=0.5)
    threads = torch.get_num_threads()
    costs = run({"map": Map, "sdpa": SoftmaxAttention}, setting)
    assert [(cost.mixer, cost.length) for cost in costs] == [
        ("map", 8),
        ("map", 32),
        ("sdpa", 8),
        ("sdpa", 32),
    ]
    assert len({len(cost.training) for cost in costs} | {len(cost.forward) for cost in costs}) == 1
    assert all(cost.seconds("training") > 0 and cost.saved_bytes and cost.peak_bytes for cost in costs)
    assert torch.get_num_threads() == threads


def test_a_length_that_would_take_too_long_is_left_out_and_said_so() -> None:
    costs = run({"map": Map}, Setting(dim=16, heads=2, lengths=(8, 100_000), seconds=0.001))
    assert not costs[0].skipped
    assert costs[1].skipped.startswith("it might take ")
    assert costs[1].skipped.endswith("of the 0.001 seconds in a round; more may be given by --seconds")
    assert not costs[1].training


def test_a_mixer_that_fails_is_named_with_what_was_asked_of_it() -> None:
    class Fails(Map):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            raise RuntimeError("no way")

    with pytest.raises(
        GraftworkError, match=r"fails cannot be profiled with dim 16, heads 2 and 8 tokens: .*no way"
    ):
        run({"fails": Fails}, Setting(dim=16, heads=2, lengths=(8,), seconds=1))


def test_the_figure_of_a_cost_is_the_median_of_its_rounds() -> None:
    assert Cost("a", 1, [1.0, 9.0, 2.0], [5.0, 3.0]).seconds("forward") == 2.0
    assert Cost("a", 1, [], [5.0, 3.0]).seconds("training") == 4.0
