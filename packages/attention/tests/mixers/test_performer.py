"""Performer attention against its formula and against softmax attention over many draws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_attention.mixers.performer import PerformerAttention
from graftwork_attention.mixers.sdpa import SoftmaxAttention


def oracle(module: PerformerAttention, x: Tensor, mask: Tensor) -> Tensor:
    """One sample ``[tokens, dim]``, weights written out: φ(q) φ(k)ᵀ over the sums of its rows."""
    width = module.dim // module.heads
    directions = module.directions
    out = torch.zeros_like(x)
    x = x[mask]
    heads = []
    for head in range(module.heads):
        part = slice(head * width, (head + 1) * width)
        features = []
        for project, over in ((module.query, (1,)), (module.key, (0, 1))):
            scaled = project(x)[:, part] / width**0.25
            if module.kernel == "relu":
                phi = (scaled @ directions.T).clamp(min=0)
            else:
                exponent = scaled @ directions.T - scaled.square().sum(1, keepdim=True) / 2
                phi = (exponent - exponent.amax(over, keepdim=True)).exp()
            features.append(phi / math.sqrt(len(directions)) + module.eps)
        weights = features[0] @ features[1].T
        heads.append(weights / weights.sum(1, keepdim=True) @ module.value(x)[:, part])
    out[mask] = module.output(torch.cat(heads, 1))
    return out


@pytest.mark.parametrize("options", [{}, {"kernel": "relu"}, {"eps": 0.1, "features": 3}], ids=str)
def test_eq_4_and_5_it_is_its_formula(options: dict[str, Any]) -> None:
    module = PerformerAttention(12, 3, 10, **{"features": 20, **options}).double()
    x = 3 * torch.randn(2, 10, 12, dtype=torch.float64)
    mask = torch.rand(2, 10) < 0.6
    mask[:, 0] = True
    for given, used in ((mask, mask), (None, torch.ones_like(mask))):
        found = module(x, given)
        for sample in range(2):
            expected = oracle(module, x[sample], used[sample])
            torch.testing.assert_close(found[sample], expected, rtol=0, atol=1e-12)


def test_it_comes_close_to_softmax_attention_with_many_features() -> None:
    # The sums of weights are unbiased, their ratio is so for many features only.
    module = PerformerAttention(8, 2, 6, features=2048, eps=1e-12).double()
    softmax = SoftmaxAttention(8, 2, 6).double()
    softmax.load_state_dict(module.state_dict(), strict=False)
    x = torch.randn(1, 6, 8, dtype=torch.float64)
    mask = torch.tensor([[True, True, False, True, True, True]])
    draws = []
    with torch.no_grad():
        expected = softmax(x, mask)
        for seed in range(8):
            module.redraw(seed)
            draws.append((module(x, mask) - expected).abs().max() / expected.abs().max())
        module = PerformerAttention(8, 2, 6, features=8).double()
        module.load_state_dict(softmax.state_dict(), strict=False)
        rough = (module(x, mask) - expected).abs().max() / expected.abs().max()
    assert max(draws) < 0.1
    assert rough > max(draws)


def test_the_mean_of_many_draws_is_closer_to_softmax_attention_than_any_one() -> None:
    module = PerformerAttention(8, 2, 6, features=256, eps=1e-12).double()
    softmax = SoftmaxAttention(8, 2, 6).double()
    softmax.load_state_dict(module.state_dict(), strict=False)
    x = torch.randn(1, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = softmax(x)
        draws = []
        for seed in range(40):
            module.redraw(seed)
            draws.append(module(x))
    errors = torch.stack(draws) - expected
    assert errors.mean(0).abs().max() < 0.4 * errors.square().mean(0).sqrt().max()
    assert errors.mean(0).abs().max() < 0.04 * expected.abs().max()


def test_the_maximum_is_that_of_real_tokens_of_one_sample() -> None:
    # With a large eps a maximum taken over padding, or over the batch, would show.
    module = PerformerAttention(8, 2, 6, features=16, eps=0.5).double()
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    alone = module(x[:1, :4])
    x[0, 4:], x[1] = 1e3, 1e2 * x[1]
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[0, 4:] = False
    torch.testing.assert_close(module(x, mask)[:1, :4], alone, rtol=0, atol=1e-12)


def test_large_queries_and_keys_stay_finite_in_float32() -> None:
    module = PerformerAttention(16, 2, 8)
    x = (300 * torch.randn(2, 8, 16)).requires_grad_()
    y = module(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("options", [{}, {"kernel": "relu"}, {"eps": 0.1}], ids=str)
def test_gradients_are_those_of_the_function_with_its_eps(options: dict[str, Any]) -> None:
    module = PerformerAttention(4, 2, 4, features=5, **options).double()
    x = (2 * torch.randn(2, 4, 4, dtype=torch.float64)).requires_grad_()
    mask = torch.tensor([[True, True, False, True], [True] * 4])
    assert torch.autograd.gradcheck(lambda y: module(y, mask), (x,))
    assert torch.autograd.gradcheck(module, (x,))


def test_redraw_is_explicit_reproducible_and_saved() -> None:
    one, other = (
        PerformerAttention(8, 2, 6, features=8),
        PerformerAttention(8, 2, 6, features=8, feature_seed=5),
    )
    assert not torch.equal(one.directions, other.directions)
    one.redraw(5)
    assert torch.equal(one.directions, other.directions)
    third = PerformerAttention(8, 2, 6, features=8, feature_seed=9, layer_index=3)
    third.load_state_dict(one.state_dict())
    x = torch.randn(1, 6, 8)
    assert torch.equal(third(x), one(x))
    with pytest.raises(ValueError, match="seed must be a whole number in"):
        one.redraw(-1)


def test_layers_have_features_of_their_own() -> None:
    drawn = [PerformerAttention(8, 2, 6, layer_index=layer).directions for layer in range(3)]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel must be 'softmax' or 'relu', got 'exp'"):
        PerformerAttention(8, 2, 6, kernel="exp")  # type: ignore[arg-type]
