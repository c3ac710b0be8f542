"""Another attention in a model: the conversion is found by the library of the model's class."""

from __future__ import annotations

import sys

import pytest
import torch

from graftwork import GraftworkError, get_registry
from graftwork.testing import write_plugin
from graftwork_trainer.attention import convert_attention

# A library of models and what converts them, in one.
LIBRARY = """
from torch import nn
from graftwork import Component, Kind, hookimpl

class Model(nn.Module): ...

def convert(model, attention, *, max_len=None):
    if max_len > 8:
        raise ValueError("there are 8 positions")
    model.mixer = attention(8, 2, max_len, layer_index=0)
    return model

@hookimpl
def graftwork_components():
    yield Component(Kind.ATTENTION_CONVERSION, "graftwork-shapes", "graftwork_shapes:convert", "for a test")
"""


@pytest.fixture
def model_class(tmp_path, monkeypatch):
    write_plugin(tmp_path, "shapes", LIBRARY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("GRAFTWORK_PLUGINS", "shapes")
    get_registry.cache_clear()
    get_registry().find("attention-conversion/graftwork-shapes")
    yield sys.modules["graftwork_shapes"].Model
    get_registry.cache_clear()
    del sys.modules["graftwork_shapes"]


def built(dim, heads, max_len, *, layer_index):
    return torch.nn.Linear(dim, max_len + layer_index)


def test_a_model_of_the_library_is_converted_and_so_is_one_derived_from_it(model_class):
    class Derived(model_class):
        pass

    for model in (model_class(), Derived()):
        assert convert_attention(model, built, max_len=4) is model
        assert model.mixer.weight.shape == (4, 8)


def test_what_a_conversion_refuses_is_a_sentence(model_class):
    with pytest.raises(GraftworkError, match=r"^there are 8 positions$"):
        convert_attention(model_class(), built, max_len=9)


def test_a_name_that_nothing_has(model_class):
    with pytest.raises(GraftworkError, match=r"^no attention called 'zebra'"):
        convert_attention(model_class(), "zebra")


def test_a_model_that_nothing_converts(model_class):
    with pytest.raises(GraftworkError) as caught:
        convert_attention(torch.nn.Linear(2, 2), built)
    assert str(caught.value) == (
        "the attention of Linear of torch cannot be replaced: models of graftwork-shapes can be; leave "
        "[attention] out, take such a model, or register an attention-conversion called 'torch'"
    )


def test_the_package_that_would_convert_is_named(model_class):
    library_model = type("BertModel", (torch.nn.Module,), {"__module__": "transformers.models.bert"})
    with pytest.raises(GraftworkError) as caught:
        convert_attention(library_model(), built)
    # Which is not installed, or, where it is, was left out by the fixture.
    assert str(caught.value).startswith("attention-conversion/transformers comes with graftwork-attention, ")
