"""Every covered architecture of transformers with every registered mixer, a third party's too.

Reached from here: ``conversion/site.py``, ``conversion/building.py``,
``conversion/transformers_attention.py``.
"""

from __future__ import annotations

import pytest
import torch
import transformers
from toy_models import IMAGE, POSITIONS, TEXT, TOKENS, encoder, pictures, spread, states, text

from graftwork import GraftworkError, Kind, get_registry
from graftwork_attention import Capabilities, FourierMixer
from graftwork_attention.conversion import convert, restore
from graftwork_attention.conversion.transformers_encoders import LAYOUTS

MIXERS = [get_registry().name_of(entry) for entry in get_registry().entries(Kind.ATTENTION)]
REAL = torch.arange(int(TOKENS.max())) < TOKENS[:, None]


@pytest.mark.parametrize("name", [*TEXT, *IMAGE])
def test_converted_to_softmax_attention_a_model_is_as_it_was_also_after_any_other(name):
    model = encoder(name)
    keep = REAL if name in TEXT else ...
    with torch.no_grad():
        own = states(model, name)[keep]
        first = states(convert(model, "sdpa"), name)[keep]
        torch.testing.assert_close(first, own, rtol=1e-5, atol=1e-5)
        for other in MIXERS:
            states(convert(model, other), name)
        assert torch.equal(states(convert(model, "sdpa"), name)[keep], first)
        assert torch.equal(states(restore(model), name)[keep], own)
    assert not hasattr(model.config, "graftwork_attention")


def test_every_class_of_attention_in_the_table_is_of_an_architecture_that_is_tested():
    found = {
        f"{type(module).__module__}.{type(module).__qualname__}".removeprefix("transformers.models.")
        for name in (*TEXT, *IMAGE)
        for module in encoder(name).modules()
    }
    assert set(LAYOUTS) <= found


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", TEXT)
def test_a_padded_batch_gives_what_its_samples_give(name, mixer):
    model, batch = convert(encoder(name), mixer), text()
    with torch.no_grad():
        together = states(model, name)
        for row, count in enumerate(TOKENS.tolist()):
            alone = states(model, name, {key: value[row : row + 1, :count] for key, value in batch.items()})
            torch.testing.assert_close(together[row, :count], alone[0], rtol=1e-4, atol=1e-4)
            if row == 0:
                unmasked = model(batch["input_ids"][:1]).last_hidden_state
                torch.testing.assert_close(unmasked, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_parameter_gets_a_gradient(mixer):
    for name in ("bert", "distilbert", "vit"):
        model = convert(encoder(name), mixer).train()
        states(model, name).square().sum().backward()
        without = {
            key
            for key, parameter in model.named_parameters()
            if parameter.grad is None and "pooler" not in key
        } - {"embeddings.mask_token"}
        assert without == set()


@pytest.mark.parametrize(
    ("family", "options", "why"),
    [
        ("GPT2", {"n_embd": 16, "n_head": 2, "n_layer": 1}, "GPT2Attention is not among"),
        ("Bert", {"is_decoder": True}, "is causal, and mixers are bidirectional"),
        ("Bert", {"is_decoder": True, "add_cross_attention": True}, "is causal"),
        ("T5", {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8}, "is an encoder-decoder"),
        ("Bart", {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1}, "is an encoder-decoder"),
        ("DebertaV2", {}, "DebertaV2Attention is not among"),
        ("MPNet", {}, "MPNetAttention is not among"),
        ("Swin", {"embed_dim": 8, "depths": [1], "num_heads": [2]}, "is not among"),
        ("ResNet", {"embedding_size": 8, "hidden_sizes": [8], "depths": [1]}, "it has none"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_a_sentence_and_stays(family, options, why):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = getattr(transformers, f"{family}Config")
    given = (sizes if family in ("Bert", "DebertaV2", "MPNet") else {}) | options
    with torch.device("meta"):
        model = getattr(transformers, f"{family}Model")(config(vocab_size=20, **given))
    classes = [type(module) for module in model.modules()]
    with pytest.raises(GraftworkError) as caught:
        convert(model, "s3", max_len=8)
    assert str(caught.value).startswith(f"the attention of {family}Model cannot be replaced: ")
    assert why in str(caught.value)
    assert [type(module) for module in model.modules()] == classes


def test_what_a_mixer_cannot_keep_is_refused_when_it_is_asked_for():
    model, batch = convert(encoder("bert"), "s3"), text()
    for asked, why in (
        ({"output_attentions": True}, "output_attentions cannot be kept: S3Attention"),
        ({"attention_mask": torch.ones(3, 1, 12, 12)}, "a mixer cannot keep a mask over pairs of tokens"),
    ):
        with pytest.raises(ValueError, match=why):
            model(**(batch | asked))
    with pytest.raises(ValueError, match="The `output_attentions` attribute is not supported"):
        model.config.output_attentions = True
    with pytest.raises(GraftworkError, match="its config asks for output_attentions"):
        convert(encoder("bert", output_attentions=True, attn_implementation="eager"), "s3")


def test_options_that_do_not_fit_leave_the_model_as_it_was():
    model = encoder("bert")
    own = states(model, "bert")
    for name, options, why in (
        ("s3", {"tokens": 99}, r"attention/s3: tokens must be in 1\.\.24"),
        ("zebra", {}, "no attention called 'zebra'"),
        ("s3", {"max_len": 0}, "max_len must be a whole number of at least 1, got 0"),
        ("s3", {"max_len": "9"}, "max_len must be a whole number of at least 1, got '9'"),
        (None, {}, "attention must be a registered name, .* got NoneType"),
        ("s3", {"zebra": 0}, "attention/s3 has no option 'zebra'"),
    ):
        with pytest.raises(GraftworkError, match=why):
            convert(model, name, **options)
    assert torch.equal(states(model, "bert"), own)


def test_more_tokens_than_it_was_converted_for_are_refused():
    model = convert(encoder("bert"), "sdpa", max_len=8)
    with pytest.raises(ValueError, match="SoftmaxAttention was built for at most max_len=8 tokens, got 12"):
        model(**text())


def test_biases_and_dropout_are_those_of_the_model_unless_said_otherwise():
    model = encoder("bert", attention_probs_dropout_prob=0.25)
    assert convert(model, "sdpa").encoder.layer[0].attention.self.mixer.attn_dropout == 0.25
    assert convert(model, "sdpa", attn_dropout=0.5).encoder.layer[1].attention.self.mixer.attn_dropout == 0.5
    assert model.config.graftwork_attention == {
        "name": "sdpa",
        "options": {"attn_dropout": 0.5, "qkv_bias": True},
        "max_len": POSITIONS,
    }
    without = convert(encoder("vit", qkv_bias=False), "sdpa").layers[0].attention.mixer
    assert without.query.bias is None


def test_training_goes_over_to_the_next_mixer_and_back():
    model = convert(encoder("bert"), "nystrom")
    with torch.no_grad():
        model.encoder.layer[0].attention.self.mixer.query.weight.fill_(0.125)
    convert(model, "s4d")
    assert (restore(model).encoder.layer[0].attention.self.query.weight == 0.125).all()


class Unable(FourierMixer):
    capabilities = Capabilities()


def test_a_mixer_that_takes_no_masks_is_for_pictures_of_one_size():
    with pytest.raises(
        GraftworkError, match="attention Unable takes no masks, and batches of BertModel are padded"
    ):
        convert(encoder("bert"), Unable)
    with pytest.raises(GraftworkError, match="attention Unable takes max_len=9 tokens and no other number"):
        convert(encoder("vit"), Unable, max_len=9)
    model = convert(encoder("vit"), Unable)
    assert states(model, "vit").isfinite().all()
    with pytest.raises(
        ValueError, match="Unable, to which this model's attention was converted, takes no masks"
    ):
        model(pictures(), attention_mask=torch.ones(2, 5))


def test_a_model_that_was_not_converted_says_so_where_it_would_call_a_mixer():
    with pytest.raises(ValueError, match="BertSelfAttention was not converted, and attn_implementation="):
        encoder("bert", attn_implementation="graftwork_mixer")(**text())


@pytest.mark.parametrize("mixer", ["sdpa", "fnet"])
def test_a_model_of_the_same_configuration_is_left_alone(mixer):
    other = encoder("bert")
    model = spread(type(other)(other.config)).eval()
    before = states(other, "bert"), states(model, "bert")
    convert(model, mixer)
    assert torch.equal(states(other, "bert"), before[0])
    assert not hasattr(other.config, "graftwork_attention")
    assert model.config.graftwork_attention["name"] == mixer
    convert(other, mixer)
    restore(model)
    assert torch.equal(states(model, "bert"), before[1])
    assert other.config.graftwork_attention["name"] == mixer
    states(other, "bert")


def test_all_parts_of_a_model_read_the_configuration_that_it_was_given():
    parts = {"text_config": encoder("siglip-text").config, "vision_config": encoder("siglip-vision").config}
    model = transformers.SiglipModel(transformers.SiglipConfig(**{k: c.to_dict() for k, c in parts.items()}))
    convert(model, "s3")
    configs = {id(model.config), id(model.config.text_config), id(model.config.vision_config)}
    assert {id(part.config) for part in model.modules() if hasattr(part, "config")} <= configs


def test_layers_are_counted():
    built = []

    def build(dim, heads, max_len, *, layer_index):
        built.append((dim, heads, max_len, layer_index))
        return FourierMixer(dim, heads, max_len)

    convert(encoder("bert"), build, max_len=9)
    assert built == [(16, 2, 9, 0), (16, 2, 9, 1)]
