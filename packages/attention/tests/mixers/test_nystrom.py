"""Nystrom attention against its formula with torch's pseudo-inverse, and what published code gets wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from graftwork_attention.mixers.nystrom import NystromAttention, pseudo_inverse, segment_means
from graftwork_attention.mixers.sdpa import SoftmaxAttention


def oracle(module: NystromAttention, x: Tensor, real: Tensor) -> Tensor:
    """One sample ``[tokens, dim]``, a head at a time, by the definition; ``real`` says which tokens are."""
    tokens = x[real]
    count = min(module.landmarks, len(tokens))
    places = torch.arange(len(tokens)) * module.landmarks // len(tokens)
    segments = [tokens[places == place] for place in places.unique()]
    assert len(segments) == count
    width = module.dim // module.heads
    heads = []
    for head in range(module.heads):
        part = slice(head * width, (head + 1) * width)
        q, k, v = (y[:, part] for y in (module.query(tokens), module.key(tokens), module.value(tokens)))
        q_marks = torch.stack([module.query(segment)[:, part].mean(0) for segment in segments])
        k_marks = torch.stack([module.key(segment)[:, part].mean(0) for segment in segments])
        weights = [
            (one @ other.T / math.sqrt(width)).softmax(1)
            for one, other in ((q, k_marks), (q_marks, k_marks), (q_marks, k))
        ]
        y = weights[0] @ torch.linalg.pinv(weights[1]) @ weights[2] @ v
        if module.value_convolution is not None:
            kernel = module.value_convolution.weight[head, 0, :, 0]
            whole = torch.zeros(len(x) + 2 * (len(kernel) // 2), width, dtype=x.dtype)
            whole[len(kernel) // 2 : len(kernel) // 2 + len(x)][real] = v
            for place, where in enumerate(real.nonzero().flatten().tolist()):
                y[place] += kernel @ whole[where : where + len(kernel)]
        heads.append(y)
    out = torch.zeros_like(x)
    out[real] = module.output(torch.cat(heads, 1))
    return out


@pytest.mark.parametrize("tokens", [1, 3, 4, 6, 8, 11])
@pytest.mark.parametrize("kernel", [0, 5])
def test_it_is_its_formula(tokens: int, kernel: int) -> None:
    module = NystromAttention(12, 3, 11, landmarks=4, conv_kernel=kernel, pinv_iterations=40).double()
    with torch.no_grad():
        # Peaked attention, whose matrices are well conditioned.
        module.query.weight.mul_(6)
    x = torch.randn(2, tokens, 12, dtype=torch.float64)
    mask = torch.rand(2, tokens) < 0.7
    mask[:, 0] = True
    with torch.no_grad():
        masked, whole = module(x, mask), module(x)
        for sample in range(2):
            expected = oracle(module, x[sample], mask[sample])
            torch.testing.assert_close(masked[sample], expected, rtol=0, atol=1e-9)
            expected = oracle(module, x[sample], torch.ones(tokens, dtype=torch.bool))
            torch.testing.assert_close(whole[sample], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("tokens", [5, 8])
def test_with_a_landmark_for_every_token_it_is_softmax_attention(tokens: int) -> None:
    module = NystromAttention(16, 2, 9, landmarks=8, conv_kernel=0, pinv_iterations=40).double()
    softmax = SoftmaxAttention(16, 2, 9).double()
    softmax.load_state_dict(module.state_dict())
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask[0, :tokens], mask[1, 9 - tokens :] = True, True
    torch.testing.assert_close(module(x, mask), softmax(x, mask), rtol=0, atol=1e-8)


def test_a_segment_holds_real_tokens_only_and_sizes_differ_by_one_at_most() -> None:
    x = torch.tensor([1.0, 100.0, 2.0, 3.0, 100.0, 4.0, 5.0])[None, :, None]
    mask = x[..., 0] < 100
    means, filled = segment_means(torch.where(mask[..., None], x, 0), mask, 2)
    assert means.flatten().tolist() == [2.0, 4.5]
    assert filled is not None
    assert filled.tolist() == [[True, True]]
    means, filled = segment_means(torch.where(mask[..., None], x, 0), mask, 7)
    assert filled is not None
    assert means[filled].flatten().tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_eq_13_each_inverse_is_started_by_its_own_norms() -> None:
    # One step of the iteration, by hand: published code starts all of a batch by the largest norms in it.
    small = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    uneven = torch.tensor([[0.99, 0.01], [0.98, 0.02]], dtype=torch.float64)
    norm = 1.1 * 1.0
    start = small.T / norm
    product = small @ start
    identity = torch.eye(2, dtype=torch.float64)
    expected = start @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product))) / 4
    torch.testing.assert_close(pseudo_inverse(torch.stack((small, uneven)), 1)[0], expected)


def test_the_iteration_converges_to_the_moore_penrose_inverse() -> None:
    matrices = torch.randn(3, 6, 6, dtype=torch.float64).softmax(-1)
    matrices[1, 4:], matrices[1, :, 4:] = 0, 0
    torch.testing.assert_close(
        pseudo_inverse(matrices, 40), torch.linalg.pinv(matrices), rtol=1e-8, atol=1e-8
    )


def test_gradients_of_the_whole() -> None:
    module = NystromAttention(2, 1, 5, landmarks=2, conv_kernel=3, pinv_iterations=3).double()
    mask = torch.tensor([[True, True, False, True, True]])
    x = torch.randn(1, 5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: module(y, mask), (x,))


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(
        ValueError, match="conv_kernel must be odd, or 0 for none, got 32; 31 and 33 would do"
    ):
        NystromAttention(16, 2, 8, conv_kernel=32)


def test_float32_keeps_to_float64_at_length() -> None:
    module = NystromAttention(64, 2, 512)
    x = torch.randn(1, 512, 64)
    with torch.no_grad():
        found = module(x).double()
        expected = module.double()(x.double())
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
