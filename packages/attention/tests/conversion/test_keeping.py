"""Converted models saved and loaded: equal bits, and nothing of them is silently another model.

Reached from here: ``conversion/record.py``, ``conversion/transformers_loading.py``.
"""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import pytest
import timm
import torch
import transformers
from toy_models import encoder, naflex, pictures, states, vision_transformer

from graftwork import GraftworkError, Kind, get_registry
from graftwork_attention import FourierMixer
from graftwork_attention.conversion import convert, load_converted, restore, save_converted
from graftwork_trainer.model_folder.card import Card

MIXERS = [get_registry().name_of(entry) for entry in get_registry().entries(Kind.ATTENTION)]


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", ["bert", "vit"])
def test_what_transformers_saves_is_loaded_with_equal_bits(name, mixer, tmp_path):
    model = convert(encoder(name), mixer)
    model.save_pretrained(tmp_path)
    loaded = load_converted(tmp_path)
    assert type(loaded) is type(model)
    assert torch.equal(states(loaded, name), states(model, name))
    assert loaded.config.graftwork_attention == model.config.graftwork_attention
    state, again = model.state_dict(), loaded.state_dict()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[key], again[key]) for key in state)


def test_heads_options_and_tied_weights_are_kept(tmp_path):
    model = convert(encoder("bert", "ForMaskedLM"), "s3", max_len=20, tokens=3)
    save_converted(model, tmp_path)
    loaded = load_converted(tmp_path)
    assert loaded.cls.predictions.decoder.weight is loaded.bert.embeddings.word_embeddings.weight
    mixer = loaded.bert.encoder.layer[1].attention.self.mixer
    assert (mixer.max_len, mixer.skeleton.tokens, mixer.layer_index) == (20, 3, 1)
    classifier = convert(encoder("bert", "ForSequenceClassification", num_labels=3), "nystrom")
    classifier.save_pretrained(tmp_path / "of-three")
    assert load_converted(tmp_path / "of-three").classifier.out_features == 3


@pytest.mark.parametrize("name", ["bert", "vit"])
@pytest.mark.parametrize("mixer", ["sdpa", "fnet"])
def test_loading_without_load_converted_fails_instead_of_making_attention_up(name, mixer, tmp_path):
    model = convert(encoder(name), mixer)
    model.save_pretrained(tmp_path)
    for loader in (transformers.AutoModel, type(model)):
        with pytest.raises(RuntimeError, match="`ignore_mismatched_sizes` to `False`"):
            loader.from_pretrained(tmp_path)


def test_half_precision_is_kept_or_asked_for(tmp_path):
    model = convert(encoder("bert").bfloat16(), "s3")
    assert {tensor.dtype for tensor in model.parameters()} == {torch.bfloat16}
    model.save_pretrained(tmp_path)
    half = load_converted(tmp_path)
    assert {tensor.dtype for tensor in half.parameters()} == {torch.bfloat16}
    assert torch.equal(states(half, "bert"), states(model, "bert"))
    whole = load_converted(tmp_path, dtype=torch.float32)
    assert {tensor.dtype for tensor in whole.parameters()} == {torch.float32}


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_model_of_timm_is_saved_and_loaded_with_equal_bits(mixer, tmp_path):
    model = convert(vision_transformer("vit_tiny_patch16_224"), mixer)
    save_converted(model, tmp_path)
    assert torch.equal(load_converted(tmp_path)(pictures()), model(pictures()))
    filled = load_converted(tmp_path, model=vision_transformer("vit_tiny_patch16_224"))
    assert torch.equal(filled(pictures()), model(pictures()))


def test_a_naflexvit_is_saved_and_loaded(tmp_path):
    model = convert(naflex(), "s3")
    save_converted(model, tmp_path)
    loaded = load_converted(tmp_path)
    assert loaded.use_key_only_attn_mask
    assert torch.equal(loaded(pictures()), model(pictures()))
    with pytest.raises(RuntimeError, match="loading state_dict"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    with pytest.raises(GraftworkError, match=r"the weights do not fit NaFlexVit as .* makes it; give model"):
        load_converted(tmp_path, model=naflex(mlp_ratio=2))


def test_a_function_without_a_name_is_given_again(tmp_path):
    def build(dim, heads, max_len, *, layer_index):
        return FourierMixer(dim, heads, max_len, layer_index=layer_index, norm="ortho")

    model = convert(encoder("bert"), build)
    model.save_pretrained(tmp_path)
    with pytest.raises(GraftworkError, match="by a function that has no registered name; give that function"):
        load_converted(tmp_path)
    assert torch.equal(states(load_converted(tmp_path, build), "bert"), states(model, "bert"))


def test_buffers_that_no_state_has_are_made_again(tmp_path):
    class Windowed(FourierMixer):
        def __init__(self, *sizes, layer_index):
            super().__init__(*sizes, layer_index=layer_index)
            self.register_buffer("window", torch.linspace(1, 2, self.dim) + layer_index, persistent=False)

        def mix(self, x, mask):
            return x * self.window

    model = convert(encoder("bert"), Windowed)
    model.save_pretrained(tmp_path)
    assert torch.equal(states(load_converted(tmp_path, Windowed), "bert"), states(model, "bert"))


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"name": "zebra", "max_len": 8}, "graftwork_attention: no attention called 'zebra'"),
        ({"name": "s3", "options": {"zebra": 1}, "max_len": 8}, "attention/s3 has no option 'zebra'"),
        ({"name": "s3"}, "graftwork_attention must be a table with name, options and max_len"),
        ("s3", "graftwork_attention must be a table with name, options and max_len"),
        (None, "has no graftwork_attention, so the model was not converted; load it by its own library"),
    ],
)
def test_a_record_that_means_nothing_here_is_a_sentence_with_the_file(record, why, tmp_path):
    convert(encoder("bert"), "s3").save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["graftwork_attention"] = record
    if record is None:
        del config["graftwork_attention"]
    file.write_text(json.dumps(config))
    with pytest.raises(GraftworkError) as caught:
        load_converted(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")
    assert why in str(caught.value)


def test_weights_of_another_attention_do_not_fit(tmp_path):
    convert(encoder("bert"), "s3").save_pretrained(tmp_path)
    with pytest.raises(
        GraftworkError, match=r"the weights do not fit BertModel with this attention: .* is missing"
    ):
        load_converted(tmp_path, lambda *sizes, layer_index: torch_linear(sizes[0]))


def torch_linear(dim):
    module = FourierMixer(dim, 1, 8)
    module.scale = torch.nn.Parameter(torch.ones(dim))
    return module


def test_what_was_not_converted_is_not_saved_as_such(tmp_path):
    with pytest.raises(GraftworkError, match="BertModel was not converted: call convert"):
        save_converted(encoder("bert"), tmp_path)
    with pytest.raises(GraftworkError, match=r"config\.json: cannot be read: No such file"):
        load_converted(tmp_path / "none")
    with pytest.raises(GraftworkError, match=r"model must be a torch\.nn\.Module, got str"):
        convert("bert-base-uncased", "s3")
    with pytest.raises(GraftworkError, match="Sequential was not converted, but a model inside it was"):
        restore(torch.nn.Sequential(convert(encoder("bert"), "s3")))


def test_projections_that_were_not_saved_cannot_be_restored(tmp_path):
    convert(encoder("bert"), "fnet").save_pretrained(tmp_path / "fnet")
    with pytest.raises(
        GraftworkError, match=r"its own key.bias was not saved, as the mixer has no place for it"
    ):
        restore(load_converted(tmp_path / "fnet"))
    model = convert(encoder("bert"), "sdpa")
    model.save_pretrained(tmp_path / "sdpa")
    own = restore(load_converted(tmp_path / "sdpa"))
    assert torch.equal(states(own, "bert"), states(encoder("bert"), "bert"))


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_copy_has_weights_of_its_own_and_goes_back_alone(mixer):
    model = encoder("bert")
    own = states(model, "bert")
    copied = copy.deepcopy(convert(model, mixer))
    assert torch.equal(states(copied, "bert"), states(model, "bert"))
    assert torch.equal(states(restore(copied), "bert"), own)
    assert hasattr(model.encoder.layer[0].attention.self, "mixer")


def test_a_state_goes_into_a_model_that_was_converted_alike():
    model, other = convert(encoder("vit"), "performer"), convert(encoder("vit"), "performer", feature_seed=1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(states(other, "vit"), states(model, "vit"))


@pytest.mark.parametrize(("layout", "make"), [("transformers", lambda: encoder("bert")), ("timm", naflex)])
def test_the_card_of_a_trained_model_says_how_it_is_loaded(layout, make, tmp_path):
    named = SimpleNamespace(name="some")
    recipe = SimpleNamespace(task=named, trainer=named, to_toml=lambda: "")
    told = Card("run", recipe, {}, 1, {}, "the last").text(layout, convert(make(), "fnet"), tmp_path)
    assert 'model = load_converted(".")' in told
