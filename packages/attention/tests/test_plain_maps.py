"""Mixers whose linear maps were wrapped, quantized or hooked after they were built."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from graftwork_attention import LinformerAttention, Mixer, NystromAttention, S3Attention
from graftwork_attention.plain_maps import is_plain


class Adapted(nn.Module):
    """A linear map with an adapter, whose ``weight`` is that of the map, as peft's are."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.adapter = base, nn.Linear(base.in_features, base.out_features, bias=False)
        self.adapter.to(base.weight.dtype)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.adapter(x)
        return y


class Packed(Tensor):
    """A weight that is kept in another form than it is seen in, as quantized ones are."""

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return [], None


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["query", "key", "value"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", [S3Attention, LinformerAttention, NystromAttention])
def test_an_adapter_is_the_same_before_and_after_it_is_merged(
    kind: Callable[..., Mixer], bias: bool, name: str, masked: bool
) -> None:
    options = {"landmarks": 4} if kind is NystromAttention else {}
    mixer = kind(8, 2, 10, qkv_bias=bias, **options).double()
    part = getattr(mixer, "skeleton", mixer)
    base = getattr(part, name)
    adapted = Adapted(base)
    setattr(part, name, adapted)
    x = torch.randn(2, 10, 8, dtype=torch.float64)
    mask = torch.arange(10) < torch.tensor([[10], [6]]) if masked else None
    found = mixer(x, mask)
    found.sum().backward()
    assert adapted.adapter.weight.grad is not None
    setattr(part, name, base)
    before = mixer(x, mask)
    with torch.no_grad():
        base.weight += adapted.adapter.weight
    torch.testing.assert_close(found, mixer(x, mask), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found, before)


def test_an_adapter_on_the_stem_is_never_folded_away() -> None:
    mixer = S3Attention(8, 2, 10, fold_stem="always").double().eval()
    stem = mixer.smoother.stem
    assert stem is not None
    x = torch.randn(1, 10, 8, dtype=torch.float64)
    plain = mixer(x)
    stem.convolution.register_forward_pre_hook(lambda _, given: (2 * given[0],))
    hooked = mixer(x)
    assert not torch.allclose(hooked, plain)
    stem.fold = "never"
    torch.testing.assert_close(hooked, mixer(x))


@pytest.mark.parametrize("kind", [S3Attention, LinformerAttention])
def test_a_norm_of_weights_by_a_hook_is_renewed(kind: Callable[..., Mixer]) -> None:
    mixer = kind(8, 2, 10)
    part = getattr(mixer, "skeleton", mixer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        for name in ("key", "value"):
            nn.utils.weight_norm(getattr(part, name))
    mixer.load_state_dict(
        {
            name: torch.randn_like(tensor) if tensor.is_floating_point() else tensor
            for name, tensor in mixer.state_dict().items()
        }
    )
    x = torch.randn(2, 10, 8)
    first = mixer(x)
    torch.testing.assert_close(first, mixer(x), rtol=0, atol=0)


def test_what_is_more_than_its_weight_is_not_plain() -> None:
    assert is_plain(nn.Linear(2, 2))
    assert is_plain(nn.Conv1d(2, 2, 3))
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    offloaded = nn.Linear(2, 2)
    offloaded.forward = lambda x: x  # type: ignore[method-assign]
    quantized = nn.Linear(2, 2)
    quantized.weight = nn.Parameter(torch.ones(2, 2).as_subclass(Packed))
    for module in (nn.Identity(), Adapted(nn.Linear(2, 2)), normed, offloaded, quantized):
        assert not is_plain(module)
