"""Images classified with another attention than the model's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import GraftworkError, get_registry
from graftwork.testing import write_plugin
from graftwork_decentral.models.mlp import mlp
from graftwork_decentral.tasks.image_classification import ImageClassification

# A library of models and what converts them, in one.
LIBRARY = """
import torch
from graftwork import Component, Kind, hookimpl

class Model(torch.nn.Module):
    def __init__(self, image_shape, classes):
        super().__init__()
        self.attention = torch.nn.Identity()
        self.head = torch.nn.Linear(image_shape[1] * image_shape[2], classes)

    def forward(self, images):
        return self.head(self.attention(images.flatten(1)[:, None])[:, 0])

def convert(model, attention, *, max_len=None):
    model.attention = attention(model.head.in_features, 2, 1, layer_index=0)
    return model

@hookimpl
def graftwork_components():
    yield Component(Kind.ATTENTION_CONVERSION, "graftwork-shapes", "graftwork_shapes:convert", "for a test")
"""


class Doubled(torch.nn.Module):
    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.full((dim,), 2.0))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return x * self.gain


@pytest.fixture
def model_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    write_plugin(tmp_path, "shapes", LIBRARY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("GRAFTWORK_PLUGINS", "shapes")
    get_registry.cache_clear()
    get_registry().find("attention-conversion/graftwork-shapes")
    yield sys.modules["graftwork_shapes"].Model
    get_registry.cache_clear()
    del sys.modules["graftwork_shapes"]


def test_a_models_attention_is_the_given_one(model_class: Any) -> None:
    task = ImageClassification(model=model_class, attention=Doubled)
    model = task.build_model()
    assert isinstance(model.attention, Doubled)
    batch = next(iter(task.batches("train", rank=0, world_size=2, seed=0)))
    task.loss(model, batch)[0].backward()
    assert model.attention.gain.grad is not None
    assert isinstance(ImageClassification(model=model_class).build_model().attention, torch.nn.Identity)


def test_a_model_without_attention_is_a_sentence(model_class: Any) -> None:
    task = ImageClassification(model=mlp, attention=Doubled)
    with pytest.raises(GraftworkError, match=r"^the attention of \w+ of torch cannot be replaced: models of"):
        task.build_model()
