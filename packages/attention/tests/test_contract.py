"""Every mixer that is registered keeps the contract, whoever registered it, and so do variants of ours.

Run where a plugin is installed, this suite tests the plugin's mixers too. What they may leave out is asked of
their ``capabilities``.

Reached from here: ``contract/check.py``, ``contract/numerics.py``, ``contract/padding.py``,
``contract/refusals.py``, ``contract/sequences.py``, ``contract/state.py``, ``contract/subject.py``,
``capabilities.py``, ``masks.py``, ``mixer.py``, ``precision.py``, ``plugin.py``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from graftwork import Kind, get_registry
from graftwork.registry import Registry
from graftwork.testing import write_plugin
from graftwork_attention.contract import CHECKS, Check
from graftwork_attention.mixers.fnet import FourierMixer
from graftwork_attention.mixers.linformer import LinformerAttention
from graftwork_attention.mixers.nystrom import NystromAttention
from graftwork_attention.mixers.performer import PerformerAttention
from graftwork_attention.mixers.s4d import DiagonalStateSpaceMixer
from graftwork_attention.mixers.sdpa import SoftmaxAttention
from graftwork_attention.s3.attention import S3Attention

Make = Callable[..., Any]


def registered() -> dict[str, Make]:
    registry = get_registry()
    return {entry.component.name: registry.resolve(entry) for entry in registry.entries(Kind.ATTENTION)}


# Options that take another path through a mixer than its defaults at the sizes of the contract.
VARIANTS: dict[str, Make] = {
    "sdpa-no-bias": partial(SoftmaxAttention, qkv_bias=False),
    "nystrom-few-landmarks": partial(NystromAttention, landmarks=4, conv_kernel=3),
    "nystrom-uneven": partial(NystromAttention, landmarks=5, conv_kernel=0, qkv_bias=False),
    "linformer-few": partial(LinformerAttention, projected_tokens=5, qkv_bias=False),
    "performer-relu": partial(PerformerAttention, kernel="relu", features=12),
    "fnet-ortho": partial(FourierMixer, norm="ortho"),
    "s4d-two-states": partial(DiagonalStateSpaceMixer, states=2),
    "s3-paper": partial(S3Attention, preset="paper"),
    "s3-reference-lra": partial(S3Attention, preset="reference-lra"),
    "s3-reference-forecast": partial(S3Attention, preset="reference-forecast"),
}
MIXERS: dict[str, Make] = {**registered(), **VARIANTS}
# Compilers take seconds: a variant is given to them where its graph is another one for them.
CASES = [
    pytest.param(build, check, id=f"{name}-{check.name}")
    for name, build in MIXERS.items()
    for check in CHECKS
    if check.name not in ("compile", "export") or name not in VARIANTS or name == "nystrom-uneven"
]


@pytest.mark.parametrize(("build", "check"), CASES)
def test_it_keeps_the_contract(build: Make, check: Check) -> None:
    if not check.applies(build):
        pytest.skip("it does not claim that")
    check.run(build)


PLUGIN = """
from graftwork import Component, hookimpl

@hookimpl
def graftwork_components():
    yield Component("attention", "mean", "graftwork_mean_mixer:MeanMixer", "a map of the mean, added")
"""
# As somebody writes it who knows the contract and nothing else of this package.
MIXER = """
import torch
from torch import nn

from graftwork_attention import Capabilities

class MeanMixer(nn.Module):
    capabilities = Capabilities(masks=True, any_length=True, needs_positions=True)

    def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int = 0, bias: bool = True):
        super().__init__()
        self.max_len = max_len
        self.of_mean, self.of_token = nn.Linear(dim, dim, bias), nn.Linear(dim, dim, bias)

    def forward(self, x, mask=None):
        if x.shape[1] > self.max_len:
            raise ValueError(f"at most max_len={self.max_len} tokens, got {x.shape[1]}")
        if mask is None:
            return self.of_mean(x.mean(1, keepdim=True)) + self.of_token(x)
        if mask.dtype != torch.bool or mask.shape != x.shape[:2]:
            raise ValueError("the mask must be bool [batch, tokens]")
        real = mask[..., None]
        x = torch.where(real, x, 0)
        mean = x.sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
        return torch.where(real, self.of_mean(mean) + self.of_token(x), 0)
"""


@pytest.fixture(scope="module")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    folder = tmp_path_factory.mktemp("plugins")
    write_plugin(folder, "mean", PLUGIN, requires=("graftwork", "graftwork-attention"))
    (folder / "graftwork_mean_mixer.py").write_text(MIXER, "utf-8")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        registry = Registry.discover()
        yield registry.resolve(registry.find("attention/mean"))
    finally:
        sys.path.remove(str(folder))
        for name in ("graftwork_mean", "graftwork_mean_mixer"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_so_does_a_mixer_of_a_third_partys_plugin(third_party: Make, check: Check) -> None:
    check.run(third_party)
