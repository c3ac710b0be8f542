"""The stem folded into the spectrum against the plain one; ``s3/stem.py`` chooses between them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor

from graftwork_attention import Smoother
from graftwork_attention.s3 import stem
from graftwork_attention.s3.spectrum import FourierConvolution


def pair(length: int = 16, **options: object) -> tuple[Smoother, Smoother]:
    """One smoother folded and plain, with norms that do not hide differences."""
    folded = Smoother(
        12, length, segments=3, activation="elu", norm="channel_batch", fold_stem="always", **options
    )
    folded.double().eval()
    plain = copy.deepcopy(folded)
    assert plain.stem is not None
    plain.stem.fold = "never"
    return folded, plain


def gradients(smoother: Smoother, x: Tensor) -> list[Tensor]:
    smoother.zero_grad()
    x = x.clone().requires_grad_()
    (smoother(x) * torch.linspace(-1, 1, 12, dtype=x.dtype)).sum().backward()
    return [x.grad, *(weight.grad for weight in smoother.parameters())]


@pytest.mark.parametrize("taps", [1, 3, 5])
@pytest.mark.parametrize(("tokens", "length"), [(16, 16), (15, 15), (9, 16), (15, 16), (4, 16)])
def test_values_and_gradients_are_those_of_the_plain_stem(tokens: int, length: int, taps: int) -> None:
    folded, plain = pair(length, stem_kernel=taps)
    x = torch.randn(2, tokens, 12, dtype=torch.float64)
    # All rows: the first and the last see zeros beyond the ends, not the other end.
    torch.testing.assert_close(folded(x), plain(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients(folded, x), gradients(plain, x), rtol=1e-10, atol=1e-10)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    made: list[None] = []
    original = stem.folded_kernel

    def counting(*arguments: object) -> Tensor:
        made.append(None)
        return original(*arguments)

    monkeypatch.setattr(stem, "folded_kernel", counting)
    return made


@torch.no_grad()
def test_the_folded_kernel_is_kept_until_a_weight_changes_however_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = counted(monkeypatch)
    folded, plain = pair()
    x = torch.randn(1, 16, 12, dtype=torch.float64)
    folded(x), folded(x)
    assert len(made) == 1
    assert folded.fourier is not None
    assert folded.stem is not None
    # As averages of weights write: no version counter sees it.
    changes = (
        lambda: folded.fourier.kernel.data.mul_(2),
        lambda: folded.stem.convolution.weight.data.add_(1),
        lambda: folded.load_state_dict(plain.state_dict()),
    )
    for number, change in enumerate(changes, 2):
        change()
        plain.load_state_dict(folded.state_dict())
        torch.testing.assert_close(folded(x), plain(x), rtol=1e-10, atol=1e-10)
        assert len(made) == min(number, 3)


def test_training_makes_the_kernel_each_time_and_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    folded, _ = pair()
    x = torch.randn(1, 16, 12, dtype=torch.float64)
    folded(x).sum().backward()
    folded(x).sum().backward()
    assert len(made) == 2
    assert folded.stem is not None
    assert folded.stem._folded is None


def test_copies_and_files_of_a_module_hold_no_folded_kernel() -> None:
    folded, _ = pair()
    with torch.no_grad():
        folded(torch.randn(1, 16, 12, dtype=torch.float64))
    for other in (copy.deepcopy(folded), pickle.loads(pickle.dumps(folded))):
        assert other.stem._folded is None
    assert folded.stem is not None
    assert folded.stem._folded is not None


def test_masks_half_precision_and_short_samples_take_the_plain_stem(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    folded, plain = pair()
    x = torch.randn(2, 16, 12, dtype=torch.float64)
    mask = torch.arange(16) < torch.tensor([[16], [9]])
    torch.testing.assert_close(folded(x, mask), plain(x, mask))
    folded(x[:, :1])
    half = copy.deepcopy(folded).bfloat16()
    half(x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        copy.deepcopy(folded).float()(x.float())
    assert made == []


@pytest.mark.parametrize(
    ("batch", "tokens", "dim", "length", "segments", "evaluation", "training"),
    [
        (1, 64, 512, 64, 8, False, False),
        (4, 64, 512, 64, 8, True, False),
        (16, 64, 512, 64, 8, True, True),
        (64, 64, 128, 64, 8, False, False),
        # Mostly zeros are transformed; a kernel of 128 MiB.
        (16, 31, 512, 64, 8, False, False),
        (16, 64, 512, 64, 512, False, False),
    ],
)
def test_auto_folds_where_it_was_quicker(
    batch: int, tokens: int, dim: int, length: int, segments: int, evaluation: bool, training: bool
) -> None:
    x = torch.empty(1).expand(batch, tokens, dim)
    smoothing = FourierConvolution(dim, length, segments=segments)
    if segments == dim:
        smoothing.max_len, x = 2048, torch.empty(1).expand(batch, 2048, dim)
    assert stem.folds(x, smoothing, learning=False) == evaluation
    assert stem.folds(x, smoothing, learning=True) == training
    assert not stem.folds(x.to("meta"), smoothing, learning=False)


def test_auto_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    folded, plain = pair()
    assert folded.stem is not None
    folded.stem.fold = "auto"
    x = torch.randn(1, 16, 12, dtype=torch.float64)
    for answer in (False, True):
        monkeypatch.setattr(stem, "folds", lambda x, smoothing, learning, answer=answer: answer)
        torch.testing.assert_close(folded(x), plain(x))
        assert len(made) == answer
