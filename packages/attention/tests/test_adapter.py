"""A mixer called as torch.nn.MultiheadAttention is: the same where both do the same, a sentence where not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from graftwork.errors import UnknownNameError
from graftwork_attention.adapter import MultiheadAttentionAdapter, real_tokens
from graftwork_attention.mixers.fnet import FourierMixer
from graftwork_attention.mixers.sdpa import SoftmaxAttention

NAMES = ["sdpa", "s3", "nystrom", "linformer", "performer", "fnet", "s4d"]


@pytest.mark.parametrize("name", NAMES)
def test_every_mixer_can_be_called_so_by_its_name(name: str) -> None:
    attention = MultiheadAttentionAdapter(16, 2, 12, name).eval()
    x = torch.randn(2, 12, 16)
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[0, 7:] = True
    y, weights = attention(x, x, x, key_padding_mask=padding)
    assert weights is None
    assert torch.equal(y, attention.mixer(x, ~padding))
    assert torch.equal(attention(x, x, x)[0], attention.mixer(x))


def test_with_softmax_attention_it_is_torchs_module() -> None:
    torchs = nn.MultiheadAttention(16, 2, batch_first=True, bias=True)
    ours = MultiheadAttentionAdapter(16, 2, 12, "sdpa")
    names = ("query", "key", "value")
    maps = {
        f"mixer.{name}.weight": part for name, part in zip(names, torchs.in_proj_weight.chunk(3), strict=True)
    }
    biases = {
        f"mixer.{name}.bias": part for name, part in zip(names, torchs.in_proj_bias.chunk(3), strict=True)
    }
    out = {"mixer.output.weight": torchs.out_proj.weight, "mixer.output.bias": torchs.out_proj.bias}
    ours.load_state_dict({**maps, **biases, **out})
    x = torch.randn(2, 12, 16)
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[0, 7:] = True
    expected, _ = torchs(x, x, x, key_padding_mask=padding)
    found, _ = ours(x, x, x, key_padding_mask=padding)
    torch.testing.assert_close(found[~padding], expected[~padding])


@pytest.mark.parametrize("training", [False, True])
def test_it_stands_in_torchs_encoder_layer_and_encoder(training: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    layer.self_attn = MultiheadAttentionAdapter(16, 2, 12, "performer")  # type: ignore[assignment]
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training)
    x = torch.randn(2, 12, 16)
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[0, 7:] = True
    changed = torch.where(padding[..., None], 50.0, x)
    with torch.set_grad_enabled(training):
        one = encoder(x, src_key_padding_mask=padding)
        other = encoder(changed, src_key_padding_mask=padding)
    torch.testing.assert_close(one[~padding], other[~padding], rtol=0, atol=1e-5)
    alone = encoder(x[:1, :7])
    torch.testing.assert_close(one[:1, :7], alone, rtol=0, atol=1e-5)


def test_a_mixer_that_is_built_is_taken_as_it_is() -> None:
    mixer = FourierMixer(16, 2, 12)
    assert MultiheadAttentionAdapter(16, 2, 12, mixer).mixer is mixer
    with pytest.raises(ValueError, match="norm: options go with the name of a mixer"):
        MultiheadAttentionAdapter(16, 2, 12, mixer, norm="ortho")
    with pytest.raises(ValueError, match=r"registered attention or a mixer that was built, .*Four"):
        MultiheadAttentionAdapter(16, 2, 12, FourierMixer)  # type: ignore[arg-type]


def test_options_and_the_layer_reach_the_mixer() -> None:
    built = MultiheadAttentionAdapter(16, 2, 12, "performer", features=8, layer_index=3).mixer
    assert built.directions.shape == (8, 8)  # type: ignore[union-attr]
    assert built.layer_index == 3


X = torch.zeros(1, 4, 16)


@pytest.mark.parametrize(
    ("inputs", "options", "sentence"),
    [
        ((X, X, X), {"need_weights": True}, "need_weights must be False"),
        ((X, X, X), {"is_causal": True}, "is_causal must be False: mixers are bidirectional"),
        ((X, X, X), {"attn_mask": torch.zeros(4, 4)}, "attn_mask must be None: .* key_padding_mask"),
        ((X, X.clone(), X), {}, "the same tensor: .* keep torch.nn.MultiheadAttention for cross-attention"),
        ((X, X, X.clone()), {}, "the same tensor"),
        ((X, X, X), {"key_padding_mask": torch.full((1, 4), -1.0)}, "must be bool, True at padding"),
        ((X, X, X), {"key_padding_mask": [[True] * 4]}, r"must be a tensor \[batch, tokens\], got list"),
        (
            (X, X, X),
            {"key_padding_mask": torch.ones(1, 4, dtype=torch.int64)},
            "must be bool, True at padding",
        ),
    ],
)
def test_what_a_mixer_does_not_do_is_refused(
    inputs: tuple[torch.Tensor, ...], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        MultiheadAttentionAdapter(16, 2, 4, SoftmaxAttention(16, 2, 4))(*inputs, **options)


def test_batch_first_false_and_an_unknown_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_first must be True: inputs are \[batch, tokens, dim\]"):
        MultiheadAttentionAdapter(16, 2, 4, batch_first=False)
    with pytest.raises(UnknownNameError, match="did you mean 'nystrom'"):
        MultiheadAttentionAdapter(16, 2, 4, "nystrom2")


def test_padding_has_the_opposite_sense_of_a_mask() -> None:
    padding = torch.tensor([[False, True, True]])
    assert real_tokens(padding).tolist() == [[True, False, False]]
    assert real_tokens(torch.zeros(1, 3).masked_fill(padding, -torch.inf)).tolist() == [[True, False, False]]
