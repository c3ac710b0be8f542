"""Classes of sequences: what is pooled, what padding changes, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from graftwork import Kind, get_registry
from graftwork_attention import S3Attention, SequenceClassifier

MIXERS = [get_registry().name_of(entry) for entry in get_registry().entries(Kind.ATTENTION)]
POOLINGS = ["mean", "cls"]


def ids_and_mask() -> tuple[torch.Tensor, torch.Tensor]:
    """Two sequences of 9 and 4 tokens, the second padded."""
    return torch.randint(1, 20, (2, 9)), torch.arange(9) < torch.tensor([[9], [4]])


def classifier(**options: Any) -> SequenceClassifier:
    given = {"vocabulary": 20, **options}
    return SequenceClassifier(16, classes=3, max_len=12, **given).double().eval()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("mixer", MIXERS)
def test_what_padding_holds_and_how_much_there_is_changes_nothing(mixer: str, pooling: str) -> None:
    ids, mask = ids_and_mask()
    model = classifier(attention=mixer, pooling=pooling)
    logits = model(ids, mask)
    torch.testing.assert_close(model(ids.masked_fill(~mask, 19), mask), logits, rtol=0, atol=0)
    torch.testing.assert_close(model(ids[1:, :4]), logits[1:], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_sequences_of_floats_may_hold_anything_at_padding(pooling: str) -> None:
    _, mask = ids_and_mask()
    x = torch.randn(2, 9, 5, dtype=torch.float64)
    model = classifier(vocabulary=None, features=5, pooling=pooling)
    logits = model(x, mask)
    x[1, 4:] = torch.nan
    x.requires_grad_(True)
    spoilt = model(x, mask)
    torch.testing.assert_close(spoilt, logits, rtol=0, atol=0)
    spoilt.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad[1, 4:], torch.zeros(5, 5, dtype=torch.float64))


def test_the_mean_is_over_real_tokens_and_a_class_token_stands_in_front() -> None:
    ids, mask = ids_and_mask()
    model = classifier()
    tokens = model.embedding(ids) + model.positions[:9]
    for block in model.blocks:
        tokens = block(tokens, mask)
    normed = model.norm(tokens)
    expected = torch.stack([normed[0].mean(0), normed[1, :4].mean(0)])
    torch.testing.assert_close(model.encode(ids, mask), expected)
    assert classifier(pooling="cls").blocks[0].mixer.max_len == 13


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_sequence_without_a_real_token_is_zeros_with_finite_gradients(pooling: str) -> None:
    model = classifier(pooling=pooling)
    pooled = model.encode(torch.zeros(2, 6, dtype=torch.int64), torch.zeros(2, 6, dtype=torch.bool))
    assert torch.equal(pooled, torch.zeros_like(pooled))
    pooled.sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


def test_pairs_go_through_one_encoder_and_are_compared() -> None:
    ids, mask = ids_and_mask()
    other = torch.randint(1, 20, (2, 7))
    model = classifier(pairs=True)
    u, v = model.encode(ids, mask), model.encode(other)
    expected = model.head(torch.cat([u, v, u * v, u - v], 1))
    torch.testing.assert_close(model(ids, mask, other), expected)


def test_the_attention_is_a_name_or_whatever_builds_a_mixer() -> None:
    def build(dim: int, heads: int, max_len: int, *, layer_index: int) -> nn.Module:
        return S3Attention(dim, heads, max_len, layer_index=layer_index, tokens=2)

    built = [block.mixer for block in classifier(attention=build, layers=3).blocks]
    assert [mixer.layer_index for mixer in built] == [0, 1, 2]
    assert all(isinstance(mixer, S3Attention) for mixer in built)


def test_it_learns_which_token_comes_first() -> None:
    model = SequenceClassifier(16, classes=2, max_len=4, vocabulary=3, layers=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(40):
        ids = torch.randint(1, 3, (32, 4))
        loss = nn.functional.cross_entropy(model(ids), ids[:, 0] - 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": None}, "give vocabulary for sequences of token numbers, or features"),
        ({"features": 3}, "and not both; got vocabulary=20, features=3"),
        ({"heads": 3}, "heads must divide dim=16, got 3"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"pooling": "max"}, "pooling must be 'mean' or 'cls', got 'max'"),
        ({"dropout": 2.0}, r"dropout must be in \[0, 1\), got 2.0"),
    ],
)
def test_an_option_out_of_its_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(**options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([torch.zeros(2, 5)], r"takes token numbers \[batch, tokens\], got torch.float32 \[2, 5\]"),
        ([torch.zeros(2, 13, dtype=torch.int64)], "at most max_len=12 tokens, got 13"),
        (
            [torch.zeros(2, 5, dtype=torch.int64), torch.ones(2, 5)],
            r"must be bool \[2, 5\].*got torch.float32",
        ),
        (
            [torch.zeros(2, 5, dtype=torch.int64), None, torch.zeros(2, 5, dtype=torch.int64)],
            "other must be left out: the model classifies single sequences; build it with pairs=True",
        ),
    ],
)
def test_a_sequence_that_does_not_fit_is_refused(given: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier()(*given)
    with pytest.raises(ValueError, match="a second sequence must be given as other"):
        classifier(pairs=True)(torch.zeros(2, 5, dtype=torch.int64))
