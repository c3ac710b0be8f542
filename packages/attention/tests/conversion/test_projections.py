"""The linear maps of a softmax attention in a mixer."""

from __future__ import annotations

import pytest
import torch

from graftwork_attention import (
    DiagonalStateSpaceMixer,
    FourierMixer,
    LinformerAttention,
    NystromAttention,
    PerformerAttention,
    S3Attention,
    SoftmaxAttention,
)
from graftwork_attention.conversion.projections import NAMES, places_in, put_into, taken_from

WITH = (SoftmaxAttention, NystromAttention, PerformerAttention, LinformerAttention, S3Attention)


def maps(*, biases: bool = True) -> dict[str, torch.Tensor]:
    weights = {f"{name}.weight": torch.randn(16, 16) for name in NAMES}
    return weights | ({f"{name}.bias": torch.randn(16) for name in NAMES} if biases else {})


@pytest.mark.parametrize("cls", WITH)
def test_a_mixer_with_such_maps_starts_from_them_and_gives_them_back(cls):
    mixer, given = cls(16, 2, 8), maps()
    assert put_into(mixer, 16, given) == {}
    back = taken_from(mixer, 16, {})
    assert back.keys() == given.keys()
    assert all(torch.equal(back[name], given[name]) for name in given)


@pytest.mark.parametrize("cls", [FourierMixer, DiagonalStateSpaceMixer])
def test_a_mixer_without_such_maps_leaves_them_all(cls):
    mixer, given = cls(16, 2, 8), maps()
    state = {name: tensor.clone() for name, tensor in mixer.state_dict().items()}
    left = put_into(mixer, 16, given)
    assert left.keys() == given.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in mixer.state_dict().items())


def test_what_one_of_them_lacks():
    with_biases = SoftmaxAttention(16, 2, 8)
    assert put_into(with_biases, 16, maps(biases=False)) == {}
    assert not any(getattr(with_biases, name).bias.any() for name in NAMES)
    left = put_into(S3Attention(16, 2, 8, preset="reference-forecast"), 16, maps())
    assert set(left) == {"query.bias", "key.bias", "value.bias", "output.weight", "output.bias"}


def test_maps_of_another_width_are_none():
    assert places_in(SoftmaxAttention(16, 2, 8), 32) == {}
