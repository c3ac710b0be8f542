"""Models with this package's blocks, and every registered mixer in them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from graftwork import GraftworkError, Kind, get_registry
from graftwork_attention import EncoderBlock, S3Attention, SequenceClassifier, SoftmaxAttention
from graftwork_attention.conversion import convert, load_converted, restore, save_converted
from graftwork_attention.conversion.encoder_blocks import convert_encoder_blocks

MIXERS = [get_registry().name_of(entry) for entry in get_registry().entries(Kind.ATTENTION)]
IDS = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 1]])


def classifier() -> SequenceClassifier:
    torch.manual_seed(1)
    return SequenceClassifier(16, classes=3, max_len=8, vocabulary=10).eval()


class Derived(SequenceClassifier):
    """A stranger's class, found by what it derives from."""


def test_softmax_attention_comes_back_after_any_other() -> None:
    model = classifier()
    with torch.no_grad():
        own = model(IDS)
        for other in MIXERS:
            assert convert(model, other)(IDS).shape == own.shape
            assert model.graftwork_attention["name"] == other
        assert torch.equal(convert(model, "sdpa")(IDS), own)
    with pytest.raises(
        GraftworkError, match=r"its blocks are made for any mixer and keep none; call convert"
    ):
        restore(model)


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_converted_model_is_saved_and_loaded(mixer: str, tmp_path: Path) -> None:
    model = convert(classifier(), mixer, max_len=6)
    save_converted(model, tmp_path)
    loaded = load_converted(tmp_path, model=SequenceClassifier(16, classes=3, max_len=8, vocabulary=10))
    assert torch.equal(loaded(IDS), model.eval()(IDS))
    with pytest.raises(GraftworkError, match="give model, made as the one that was saved"):
        load_converted(tmp_path)


def test_maps_biases_and_dropout_go_from_one_mixer_to_the_next() -> None:
    plain = partial(SoftmaxAttention, qkv_bias=False, attn_dropout=0.25)
    model = SequenceClassifier(16, classes=3, max_len=8, vocabulary=10, attention=plain)
    weight = model.blocks[1].mixer.query.weight.detach().clone()
    convert(model, "fnet")
    convert(model, "s3")
    attention = next(part for part in model.blocks[1].mixer.modules() if hasattr(part, "query"))
    assert torch.equal(attention.query.weight, weight)
    assert attention.query.bias is None
    assert model.blocks[1].mixer.to_dict()["attn_dropout"] == 0.25


def test_classes_that_derive_from_a_model_of_blocks_are_found_and_others_need_the_call() -> None:
    derived = Derived(16, classes=3, max_len=8, vocabulary=10)
    assert isinstance(convert(derived, "s3").blocks[0].mixer, S3Attention)
    blocks = nn.Sequential(EncoderBlock(16, S3Attention(16, 2, 8), hidden=16))
    assert type(convert_encoder_blocks(blocks, S3Attention, max_len=12)[0].mixer) is S3Attention
    assert blocks[0].mixer.max_len == 12
    with pytest.raises(GraftworkError, match="Linear cannot be replaced: it has no EncoderBlock"):
        convert_encoder_blocks(nn.Linear(2, 2), S3Attention)


def test_a_model_stays_as_it_was_where_a_mixer_does_not_fit() -> None:
    model = classifier()
    own = model(IDS)
    with pytest.raises(GraftworkError, match="segments"):
        convert(model, "s3", segments=5)
    assert torch.equal(model(IDS), own)
    stranger = nn.Sequential(EncoderBlock(16, nn.Identity(), hidden=16))
    with pytest.raises(GraftworkError, match="max_len must be given for Sequential"):
        convert_encoder_blocks(stranger, S3Attention)
    with pytest.raises(GraftworkError, match="Identity of an EncoderBlock has no attribute heads"):
        convert_encoder_blocks(stranger, S3Attention, max_len=8)
