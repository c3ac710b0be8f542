"""Inner products of channels: ``kernels/channel_gram_reference.py`` against a sum, the kernels against it.

As in test_skeleton.py, this file is the interpreter's process when it is run as a program.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_attention.kernels import channel_gram as gram_module
from graftwork_attention.kernels.channel_gram import channel_gram

FLOAT, DOUBLE, HALF, BRAIN = torch.float32, torch.float64, torch.float16, torch.bfloat16
TOLERANCES = {FLOAT: 1e-5, HALF: 5e-3, BRAIN: 5e-3}
RESULTS = ("gram", "q", "k")


@dataclass(frozen=True)
class Case:
    """One call; after every token of q and k come ``gap`` numbers of NaN."""

    width: int = 16
    channels: int = 8
    dtype: torch.dtype = FLOAT
    masked: bool = False
    batch: int = 2
    tokens: int = 70
    heads: int = 2
    gap: int = 0

    def inputs(self, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor | None]:
        generator = torch.Generator().manual_seed(self.width)
        found = []
        for width in (self.width, self.channels):
            whole = torch.full(
                (self.batch, self.tokens, self.heads * width + self.gap), torch.nan, dtype=self.dtype
            )
            rows = whole[..., : self.heads * width]
            rows.copy_(torch.randn(rows.shape, generator=generator, dtype=DOUBLE))
            found.append(rows.unflatten(2, (self.heads, width)).to(device))
        mask = torch.rand(self.batch, self.tokens, generator=generator) > 0.3 if self.masked else None
        return found[0], found[1], None if mask is None else mask.to(device)

    def slope(self) -> Tensor:
        return torch.randn(
            self.batch, self.heads, self.width, self.channels, generator=torch.Generator().manual_seed(1)
        )

    def by_kernels(self, device: str = "cpu") -> dict[str, Tensor]:
        from graftwork_attention.kernels import channel_gram_triton as kernels

        inputs = self.inputs(device)
        found = (kernels.forward(*inputs), *kernels.backward(self.slope().to(device), *inputs))
        return dict(zip(RESULTS, found, strict=True))

    def by_autograd(self, function: Callable[..., Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        q, k, mask = self.inputs()
        leaves = [x.to(dtype).requires_grad_() for x in (q, k)]
        gram = function(*leaves, mask, 1.0)
        return dict(
            zip(
                RESULTS,
                (gram.detach(), *torch.autograd.grad(gram, leaves, self.slope().to(gram))),
                strict=True,
            )
        )


def sum_over_tokens(q: Tensor, k: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Add up the outer products of all valid tokens, one after the other."""
    total = torch.zeros(q.shape[0], *q.shape[2:], k.shape[3], dtype=q.dtype)
    for token in range(q.shape[1]):
        product = q[:, token, :, :, None] * k[:, token, :, None, :]
        valid = torch.ones(q.shape[0], dtype=torch.bool) if mask is None else mask[:, token]
        total = total + torch.where(valid[:, None, None, None], product, 0.0)
    return scale * total


CASES = [
    Case(),
    Case(24, 1, FLOAT, masked=True),
    Case(128, 40, FLOAT, heads=1, batch=1, tokens=37),
    Case(64, 8, BRAIN, masked=True, gap=3, heads=1),
    Case(32, 32, HALF, masked=True, tokens=20),
    Case(16, 8, BRAIN, tokens=1, gap=8),
]


def check(case: Case, found: dict[str, Tensor]) -> None:
    expected = case.by_autograd(channel_gram, DOUBLE)
    for name in RESULTS:
        error = (found[name].cpu().double() - expected[name]).square().mean().sqrt()
        assert error <= TOLERANCES[case.dtype] * expected[name].square().mean().sqrt(), name


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reference_is_the_sum_over_tokens(case: Case) -> None:
    ours, theirs = (case.by_autograd(function, DOUBLE) for function in (channel_gram, sum_over_tokens))
    for name in RESULTS:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-12, atol=1e-12)


def test_half_precision_is_summed_in_single() -> None:
    case = Case(8, 4, BRAIN, batch=1, heads=1, tokens=20_000)
    q, k, _ = case.inputs()
    found = channel_gram(q, k, None, 1.0)
    assert found.dtype == FLOAT
    torch.testing.assert_close(
        found.double(), channel_gram(q.double(), k.double(), None, 1.0), rtol=1e-4, atol=1e-3
    )


@pytest.fixture(scope="module")
def outcomes(interpreted: Callable[[str], Any]) -> dict[Case, dict[str, Tensor]]:
    return dict(zip(CASES, interpreted(__file__), strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_agree_with_the_reference_in_float64(
    case: Case, outcomes: dict[Case, dict[str, Tensor]]
) -> None:
    check(case, outcomes[case])
    assert outcomes[case]["gram"].dtype == FLOAT


@pytest.mark.parametrize("kernels", [False, True])
def test_every_sample_has_its_scale(kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_module, "runs_kernels", lambda q: kernels)
    q, k, mask = Case(masked=True).inputs()
    scales = torch.tensor([0.5, 2.0])
    found = channel_gram(q, k, mask, scales)
    expected = torch.cat([channel_gram(q[[i]], k[[i]], mask[[i]], float(scales[i])) for i in range(2)])  # type: ignore[index]
    torch.testing.assert_close(found, expected)


def test_torch_knows_the_operation() -> None:
    q, k, mask = Case(4, 2, tokens=3, masked=True).inputs()
    torch.library.opcheck(
        torch.ops.graftwork_attention.channel_gram.default, (q.requires_grad_(), k.requires_grad_(), mask)
    )


def test_what_does_not_fit_is_refused() -> None:
    q, k, mask = Case(masked=True).inputs()
    with pytest.raises(ValueError, match=r"k must have shape \(2, 70, 2, 'channels'\) here, got"):
        channel_gram(q, k[:, 1:], mask, 1.0)
    for wrong in (torch.ones(2, 69, dtype=torch.bool), torch.ones(2, 70)):
        with pytest.raises(ValueError, match=r"mask must be bool \(2, 70\) here, got"):
            channel_gram(q, k, wrong, 1.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("width", [16, 40, 64, 128])
def test_kernels_agree_on_a_device(width: int, dtype: torch.dtype) -> None:
    for channels in (1, 8, width):
        case = Case(width, channels, dtype, masked=True, batch=3, tokens=3001, heads=3, gap=8)
        torch.use_deterministic_algorithms(True)
        try:
            check(case, case.by_kernels("cuda"))
        finally:
            torch.use_deterministic_algorithms(False)


def interpret_all(path: str) -> None:
    torch.set_num_threads(1)
    # New memory holds NaN, so that what is not written is seen.
    torch.use_deterministic_algorithms(True)
    torch.save([case.by_kernels() for case in CASES], path)


if __name__ == "__main__":
    interpret_all(sys.argv[1])
