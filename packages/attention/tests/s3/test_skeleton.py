"""Skeleton attention against its formulas, and what pruning, masks and choices may not change."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from graftwork_attention import SkeletonAttention
from graftwork_attention.s3.presets import Landmarks


def oracle(module: SkeletonAttention, h: Tensor, chosen_tokens: Tensor) -> Tensor:
    """The listing as it stands: whole projections, then a choice; a sample and a head at a time."""
    width, chosen = module.dim // module.heads, module.channel_index
    q, k, v = module.query(h), module.key(h), module.value(h)
    by_token, by_channel = torch.zeros_like(q), torch.zeros_like(q)
    for b in range(len(h)):
        for head in range(module.heads):
            own = slice(head * width, (head + 1) * width)
            q1, k1, v1 = q[b, :, own], k[b, :, own], v[b, :, own]
            attention = torch.softmax(q1 @ k1[chosen_tokens].T / math.sqrt(width), -1)
            by_token[b, :, own] = attention @ v1[chosen_tokens]
            weights = torch.softmax(q1.T @ k1[:, chosen] / math.sqrt(h.shape[1]), -1)
            by_channel[b, :, own] = v1[:, chosen] @ weights.T
    return module.output(0.5 * module.token_norm(by_token) + 0.5 * module.channel_norm(by_channel))


def skeleton(tokens: int = 3, channels: int = 2, max_len: int = 10, **options: object) -> SkeletonAttention:
    made = SkeletonAttention(8, 2, max_len, tokens=tokens, channels=channels, **options).double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return made


@pytest.mark.parametrize(("tokens", "channels"), [(1, 1), (3, 2), (10, 4)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out_proj", [True, False])
def test_values_and_gradients_are_those_of_the_listing(
    tokens: int, channels: int, bias: bool, out_proj: bool
) -> None:
    module = skeleton(tokens, channels, qkv_bias=bias, out_proj=out_proj)
    h = torch.randn(2, 10, 8, dtype=torch.float64)
    weights = list(module.parameters())
    found, wanted = module(h), oracle(module, h, module.token_index)
    torch.testing.assert_close(found, wanted, rtol=1e-14, atol=1e-14)
    probe = torch.randn_like(found)
    torch.testing.assert_close(
        torch.autograd.grad((found * probe).sum(), weights),
        torch.autograd.grad((wanted * probe).sum(), weights),
        rtol=1e-12,
        atol=1e-12,
    )


def test_gradcheck() -> None:
    module = skeleton(max_len=5)
    h = torch.randn(1, 5, 8, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, False, True, True]])
    assert torch.autograd.gradcheck(lambda h: module(h, mask), (h,))


def test_nothing_but_the_queries_is_projected_whole() -> None:
    module = skeleton()
    wide: list[torch.Size] = []
    for linear in (module.key, module.value):
        linear.register_forward_hook(lambda _, given, made: wide.append(made.shape))
    module(torch.randn(2, 10, 8, dtype=torch.float64))
    assert wide == [(2, 3, 8), (2, 3, 8)]


def test_one_token_makes_its_branch_constant_and_one_channel_makes_a_head_s_channels_equal() -> None:
    h = torch.randn(2, 10, 8, dtype=torch.float64)
    by_token = skeleton(tokens=1, use_channel_branch=False, out_proj=False)(h)
    torch.testing.assert_close(by_token, by_token[:, :1].expand_as(by_token))
    module = skeleton(channels=1)
    values, weights = module._of_channels(h, module.query(h).unflatten(-1, (2, 4)), None)
    assert (weights == 1).all()
    assert values.shape == (2, 10, 2, 1)


def test_weights_of_channels_sum_to_one_over_the_chosen_ones() -> None:
    module, h = skeleton(), torch.randn(2, 10, 8, dtype=torch.float64)
    _, weights = module._of_channels(h, module.query(h).unflatten(-1, (2, 4)), None)
    assert weights.shape == (2, 2, 4, 2)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 4, dtype=torch.float64))


def test_tokens_that_are_not_chosen_may_change_places() -> None:
    module, h = skeleton(), torch.randn(2, 10, 8, dtype=torch.float64)
    others = [t for t in range(10) if t not in module.token_index]
    order = torch.arange(10)
    order[others] = torch.tensor(others)[torch.randperm(len(others))]
    torch.testing.assert_close(module(h[:, order]), module(h)[:, order])
    swapped = torch.arange(10)
    swapped[module.token_index[0]], swapped[others[0]] = others[0], int(module.token_index[0])
    assert not torch.allclose(module(h[:, swapped]), module(h)[:, swapped])


def test_the_branches_are_the_halves_of_the_sum() -> None:
    whole, h = skeleton(out_proj=False), torch.randn(2, 10, 8, dtype=torch.float64)
    halves = []
    for left_out in ("use_token_branch", "use_channel_branch"):
        half = skeleton(out_proj=False, **{left_out: False})
        missing = half.load_state_dict(whole.state_dict(), strict=False)
        assert missing.missing_keys == []
        assert len(missing.unexpected_keys) == 2
        halves.append(half(h))
    torch.testing.assert_close(halves[0] + halves[1], whole(h))


@pytest.mark.parametrize("landmarks", ["relative", "fixed"])
def test_a_full_sample_has_its_landmarks_where_they_were_drawn(landmarks: Landmarks) -> None:
    module, h = skeleton(landmarks=landmarks), torch.randn(2, 10, 8, dtype=torch.float64)
    torch.testing.assert_close(module(h), oracle(module, h, module.token_index))
    # A mask of ones is none.
    torch.testing.assert_close(module(h, torch.ones(2, 10, dtype=torch.bool)), module(h))


def test_relative_landmarks_stand_at_the_same_fractions_of_the_real_tokens() -> None:
    module, h = skeleton(), torch.randn(1, 10, 8, dtype=torch.float64)
    mask = torch.tensor([[False, True, True, False, True, True, False, True, False, True]])
    (real,) = mask[0].nonzero(as_tuple=True)
    wanted = oracle(module, h[:, real], module.token_index * 6 // 10)
    torch.testing.assert_close(module(h, mask)[:, real], wanted)
    torch.testing.assert_close(module(h[:, :6]), oracle(module, h[:, :6], module.token_index * 6 // 10))


def test_fixed_landmarks_beyond_a_sample_or_in_its_padding_have_no_weight() -> None:
    module, h = skeleton(tokens=5, landmarks="fixed"), torch.randn(1, 10, 8, dtype=torch.float64)
    last = int(module.token_index[-1])
    inside = module.token_index[module.token_index < last]
    assert 0 < len(inside) < 5
    wanted = oracle(module, h[:, :last], inside)
    torch.testing.assert_close(module(h[:, :last]), wanted)
    masked = h.clone()
    masked[:, last:] = float("nan")
    torch.testing.assert_close(module(masked, (torch.arange(10) < last)[None])[:, :last], wanted)


def test_without_a_valid_landmark_the_token_branch_is_zero() -> None:
    module = skeleton(tokens=2, landmarks="fixed", out_proj=False, use_channel_branch=False)
    first = int(module.token_index[0])
    assert first > 0
    h = torch.randn(1, first, 8, dtype=torch.float64)
    torch.testing.assert_close(module(h), (0.5 * module.token_norm.bias).expand(1, first, 8))


def test_the_scale_of_channels_goes_by_the_sample_s_length_or_the_largest() -> None:
    h = torch.randn(2, 10, 8, dtype=torch.float64)
    module, fixed = skeleton(), skeleton(channel_scale="max")
    fixed.load_state_dict(module.state_dict())
    torch.testing.assert_close(module(h), fixed(h))
    assert module._channel_scale(h[:, :4], None) == 0.5
    assert fixed._channel_scale(h[:, :4], None) == 10**-0.5
    mask = torch.arange(10) < torch.tensor([[4], [0]])
    scale = module._channel_scale(h, mask)
    assert isinstance(scale, Tensor)
    torch.testing.assert_close(scale, torch.tensor([0.5, 1.0], dtype=torch.float64))


def test_dropout_acts_on_both_softmaxes_in_training_alone() -> None:
    for left_out in ("use_token_branch", "use_channel_branch"):
        module = skeleton(attn_dropout=0.5, **{left_out: False})
        h = torch.randn(2, 10, 8, dtype=torch.float64)
        assert not torch.equal(module(h), module(h))
        module.eval()
        assert torch.equal(module(h), module(h))
    both = skeleton(attn_dropout=0.5)
    assert not torch.equal(both(h), both(h))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokens": 11}, r"tokens must be in 1\.\.10 \(max_len\), got 11"),
        ({"channels": 0}, r"channels must be in 1\.\.4 \(dim / heads\), got 0"),
        ({"use_token_branch": False, "use_channel_branch": False}, "must be true, got neither"),
        ({"landmarks": "random"}, "landmarks must be one of relative, fixed, got 'random'"),
        ({"attn_dropout": 1.0}, "attn_dropout must be at least 0 and below 1"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        skeleton(**options)


def test_the_chosen_tokens_do_attend_by_softmax() -> None:
    """All tokens chosen, without the other branch and the norm, it is softmax attention."""
    module, h = skeleton(tokens=10, use_channel_branch=False, out_proj=False), torch.randn(2, 10, 8).double()
    module.token_norm = torch.nn.LayerNorm(8).double()
    q, k, v = (
        linear(h).unflatten(-1, (2, 4)).transpose(1, 2) for linear in (module.query, module.key, module.value)
    )
    softmax = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(module(h), 0.5 * F.layer_norm(softmax, (8,)))
