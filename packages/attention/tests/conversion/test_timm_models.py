"""timm's vision transformers with every registered mixer."""

from __future__ import annotations

import pytest
import timm
import torch
from toy_models import TIMM, naflex, pictures, vision_transformer

from graftwork import GraftworkError, Kind, get_registry
from graftwork_attention.conversion import convert, restore

MIXERS = [get_registry().name_of(entry) for entry in get_registry().entries(Kind.ATTENTION)]


@pytest.mark.parametrize("name", TIMM)
def test_converted_to_softmax_attention_a_model_is_as_it_was_also_after_any_other(name):
    model, x = vision_transformer(name), pictures()
    with torch.no_grad():
        own = model(x)
        first = convert(model, "sdpa")(x)
        torch.testing.assert_close(first, own, rtol=1e-5, atol=1e-5)
        for other in MIXERS:
            assert convert(model, other)(x).shape == own.shape
        assert torch.equal(convert(model, "sdpa")(x), first)
        assert torch.equal(restore(model)(x), own)
    assert not hasattr(model, "graftwork_attention")


@pytest.mark.parametrize("mixer", MIXERS)
def test_padded_patches_of_a_naflexvit_change_nothing(mixer):
    generator = torch.Generator().manual_seed(3)
    patches = torch.randn(2, 9, 48, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")
    places = torch.stack((rows, columns), -1).view(1, 9, 2).repeat(2, 1, 1)
    places[1, 6:] = 0  # a picture of 2 x 3 patches
    valid = torch.arange(9) < torch.tensor([[9], [6]])
    model = naflex()
    with torch.no_grad():
        own = model({"patches": patches, "patch_coord": places, "patch_valid": valid})
        convert(model, mixer)
        together = model({"patches": patches, "patch_coord": places, "patch_valid": valid})
        if mixer == "sdpa":
            torch.testing.assert_close(together, own, rtol=1e-5, atol=1e-5)
        patches[1, 6:] = 9.0
        again = model({"patches": patches, "patch_coord": places, "patch_valid": valid})
        assert torch.equal(together, again)
        alone = model(
            {"patches": patches[1:, :6], "patch_coord": places[1:, :6], "patch_valid": valid[1:, :6]}
        )
        torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)
        assert torch.equal(
            restore(model)({"patches": patches, "patch_coord": places, "patch_valid": valid}), own
        )
    assert model.use_key_only_attn_mask is False


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_parameter_gets_a_gradient(mixer):
    model = convert(vision_transformer("vit_tiny_patch16_224"), mixer).train()
    model(pictures()).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_length_is_that_of_the_model_and_pictures_of_another_size_need_more():
    model = vision_transformer("vit_small_patch14_reg4_dinov2")
    assert convert(model, "s3").graftwork_attention["max_len"] == 2 * 2 + 1 + 4
    larger = torch.randn(1, 3, 12, 12)
    with pytest.raises(ValueError, match=r"at most max_len=9 tokens, got 14; build it with a larger max_len"):
        model(larger)
    convert(model, "s3", max_len=14)(larger)


def test_dropout_after_the_output_map_stays():
    model = vision_transformer("vit_tiny_patch16_224", proj_drop_rate=0.5)
    assert convert(model, "fnet").blocks[0].attn.dropout.p == 0.5


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("eva02_tiny_patch14_224", {"depth": 1}, "eva.EvaAttention, and only timm's plain attention can be"),
        ("vit_base_patch16_rope_224", {"depth": 1}, "timm.layers.attention.AttentionRope, and only"),
        ("swin_tiny_patch4_window7_224", {}, "swin_transformer.WindowAttention, and only"),
        ("hiera_tiny_224", {}, "hiera.MaskUnitAttention, and only"),
        ("beit_base_patch16_224", {"depth": 1}, "beit.Attention, and only"),
        ("resnet18", {}, "it has none of timm's plain attention"),
        ("vit_base_patch16_224", {"depth": 1, "qk_norm": True}, "has q_norm.weight, which no mixer has"),
        ("vit_base_patch16_224", {"depth": 1, "scale_attn_norm": True}, "has norm.weight, which no mixer"),
        ("vit_base_patch16_224", {"depth": 1, "attn_layer": "diff"}, "DiffAttention, and only"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_a_sentence(name, options, why):
    with torch.device("meta"):
        model = timm.create_model(name, **options)
    with pytest.raises(GraftworkError) as caught:
        convert(model, "s3")
    assert str(caught.value).startswith(f"the attention of {type(model).__name__} cannot be replaced: ")
    assert why in str(caught.value)


def test_a_mask_over_pairs_of_tokens_is_refused():
    model = convert(vision_transformer("vit_tiny_patch16_224"), "sdpa")
    with pytest.raises(ValueError, match=r"got \[2, 1, 5, 5\]: a mixer cannot keep a mask over pairs"):
        model(pictures(), attn_mask=torch.zeros(2, 1, 5, 5))
