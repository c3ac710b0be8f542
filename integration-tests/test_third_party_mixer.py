"""A stranger's mixer, which imports nothing of ours, in models of transformers and timm by its name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from transformers import BertConfig, BertForSequenceClassification

from graftwork import GraftworkError, choose, get_registry
from graftwork.testing import write_plugin
from graftwork_attention.conversion import convert, load_converted
from graftwork_trainer.attention import convert_attention

MIXERS = """
from types import SimpleNamespace

import torch
from graftwork import Component, Kind, hookimpl


class Mean(torch.nn.Module):
    '''Every token receives the mean of the real ones.

    Args:
        gain: of that mean.
    '''

    capabilities = SimpleNamespace(
        masks=True, any_length=True, causal=False, cross=False, reuses_qkv=False, needs_positions=True
    )

    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int, gain: float = 1.0):
        super().__init__()
        self.gain, self.value = gain, torch.nn.Linear(dim, dim)

    def forward(self, x, mask=None):
        mask = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
        real = mask[..., None].to(x.dtype)
        mean = (x * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
        return self.gain * self.value(mean) * real


class Unmasked(Mean):
    capabilities = SimpleNamespace(
        masks=False, any_length=True, causal=False, cross=False, reuses_qkv=False, needs_positions=True
    )


@hookimpl
def graftwork_components():
    yield Component(Kind.ATTENTION, "mean", "graftwork_strange:Mean", "a mean")
    yield Component(Kind.ATTENTION, "unmasked", "graftwork_strange:Unmasked", "a mean of padding, too")
"""


@pytest.fixture(autouse=True)
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin, installed."""
    write_plugin(tmp_path / "plugins", "strange", MIXERS)
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    get_registry.cache_clear()
    yield
    sys.modules.pop("graftwork_strange", None)
    get_registry.cache_clear()


def bert() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 16}
    return BertForSequenceClassification(BertConfig(vocab_size=30, **sizes)).eval()


def test_an_encoder_is_converted_saved_and_loaded(tmp_path: Path) -> None:
    model = convert(bert(), "strange:mean", gain=0.5)
    ids, mask = torch.randint(0, 30, (2, 9)), torch.arange(9) < torch.tensor([[9], [4]])
    together = model(input_ids=ids, attention_mask=mask.long()).logits
    torch.testing.assert_close(model(input_ids=ids[1:, :4]).logits, together[1:])
    model.save_pretrained(tmp_path / "converted")
    loaded: Any = load_converted(tmp_path / "converted")
    assert loaded.bert.encoder.layer[0].attention.self.mixer.gain == 0.5
    assert torch.equal(loaded(input_ids=ids, attention_mask=mask.long()).logits, together)


def test_a_vision_transformer_is_converted_as_a_task_does_it() -> None:
    sizes = {"embed_dim": 16, "num_heads": 2, "depth": 2, "img_size": 8, "patch_size": 4, "num_classes": 3}
    model = timm.create_model("vit_tiny_patch16_224", **sizes)
    convert_attention(model, choose("attention", "mean"))
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 3)
    convert_attention(model, "unmasked")


def test_one_that_takes_no_masks_is_refused_where_batches_are_padded() -> None:
    with pytest.raises(
        GraftworkError, match=r"attention unmasked takes no masks, and batches of Bert.* are padded"
    ):
        convert(bert(), "unmasked")


def test_a_folder_of_a_mixer_that_is_not_installed_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(bert(), "mean").save_pretrained(tmp_path)
    monkeypatch.setenv("GRAFTWORK_DISABLE", "strange")
    get_registry.cache_clear()
    with pytest.raises(GraftworkError, match=r"config.json: graftwork_attention: no attention called 'mean'"):
        load_converted(tmp_path)
