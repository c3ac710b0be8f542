"""What follows the stem's convolution: the reference against its formulas, the kernels against it.

As in test_skeleton.py, this file is the interpreter's process when it is run as a program.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from graftwork_attention.kernels import stem_epilogue as epilogue_module
from graftwork_attention.kernels.stem_epilogue import Activation, Norm, stem_epilogue

FLOAT, DOUBLE, HALF, BRAIN = torch.float32, torch.float64, torch.float16, torch.bfloat16
TOLERANCES = {FLOAT: 1e-5, HALF: 5e-3, BRAIN: 5e-3}
EPS = 1e-5
RESULTS = ("y", "x", "weight", "bias")


@dataclass(frozen=True)
class Case:
    """One call."""

    norm: Norm = "layer"
    activation: Activation = "relu"
    dim: int = 24
    dtype: torch.dtype = FLOAT
    masked: bool = False
    weighted: bool = True
    biased: bool = True
    batch: int = 2
    tokens: int = 45

    def random(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=DOUBLE)

    def inputs(self, device: str = "cpu") -> list[Tensor | None]:
        length = self.tokens if self.norm == "position" else self.dim
        found: list[Tensor | None] = [
            (3 * self.random(self.batch, self.tokens, self.dim) + 1).to(self.dtype),
            (1 + self.random(1, length)[0]).float() if self.weighted else None,
            self.random(2, length)[0].float() if self.biased else None,
            self.random(self.batch, self.tokens) > -0.5 if self.masked else None,
        ]
        return [None if x is None else x.to(device) for x in found]

    def slope(self) -> Tensor:
        return self.random(self.batch, self.tokens, self.dim + 1)[..., 1:].to(self.dtype)

    def by_kernels(self, device: str = "cpu") -> dict[str, Tensor]:
        from graftwork_attention.kernels import stem_epilogue_triton as kernels

        given: list[Any] = [*self.inputs(device), None]
        options: Any = (self.norm, self.activation, EPS, 0.0)
        y = kernels.forward(*given, *options)
        return dict(
            zip(RESULTS, (y, *kernels.backward(self.slope().to(device), *given, *options)), strict=True)
        )

    def by_autograd(self, function: Callable[..., Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        *given, mask = self.inputs()
        x, weight, bias = (None if x is None else x.to(dtype).requires_grad_() for x in given)
        y = function(x, weight, bias, mask, norm=self.norm, activation=self.activation, eps=EPS)
        names = [name for name, leaf in zip(RESULTS[1:], (x, weight, bias), strict=True) if leaf is not None]
        leaves = [leaf for leaf in (x, weight, bias) if leaf is not None]
        gradients = torch.autograd.grad(y, leaves, self.slope().to(dtype))
        return {"y": y.detach(), **dict(zip(names, gradients, strict=True))}


def formulas(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    *,
    norm: str,
    activation: str,
    eps: float,
) -> Tensor:
    if norm == "layer":
        deviations = x - x.mean(-1, keepdim=True)
        x = deviations / (deviations.square().mean(-1, keepdim=True) + eps).sqrt()
    over_tokens = norm == "position"
    if weight is not None:
        x = torch.einsum("btc,t->btc" if over_tokens else "btc,c->btc", x, weight)
    if bias is not None:
        x = x + (bias.view(1, -1, 1) if over_tokens else bias.view(1, 1, -1))
    y = {
        "relu": lambda: torch.where(x > 0, x, 0.0),
        "elu": lambda: torch.where(x > 0, x, x.exp() - 1),
        "gelu": lambda: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
    }[activation]()
    return y if mask is None else torch.where(mask[:, :, None], y, 0.0)


CASES = [
    *(Case(norm, activation) for norm in get_args(Norm) for activation in get_args(Activation)),
    Case("layer", "elu", 512, BRAIN, masked=True, tokens=5),
    Case("layer", "gelu", 100, HALF, masked=True, weighted=False),
    Case("position", "elu", 64, HALF, masked=True, tokens=33),
    Case("channel", "relu", 64, BRAIN, masked=True, biased=False),
    Case("layer", "relu", 1, masked=True, tokens=3),
    Case("layer", "relu", 4096, batch=1, tokens=3, weighted=False, biased=False),
]


def check(case: Case, found: dict[str, Tensor]) -> None:
    for name, expected in case.by_autograd(stem_epilogue, DOUBLE).items():
        error = (found[name].cpu().double() - expected).square().mean().sqrt()
        assert error <= TOLERANCES[case.dtype] * max(float(expected.square().mean().sqrt()), 1e-3), name
    assert found["y"].dtype == found["x"].dtype == case.dtype


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reference_is_the_formulas(case: Case) -> None:
    ours, theirs = (case.by_autograd(function, DOUBLE) for function in (stem_epilogue, formulas))
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-9, atol=1e-10)


@pytest.fixture(scope="module")
def outcomes(interpreted: Callable[[str], Any]) -> dict[str, Any]:
    found: dict[str, Any] = interpreted(__file__)
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_agree_with_the_reference_in_float64(case: Case, outcomes: dict[str, Any]) -> None:
    check(case, outcomes["cases"][CASES.index(case)])


def check_dropped(found: dict[str, Tensor]) -> None:
    """Of ones with a gradient of ones, a rate of 0.25 and two seeds."""
    y = found["y"].cpu()
    kept = y > 0
    assert 0.7 < float(kept.float().mean()) < 0.8
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / 0.75))
    # Backward drops what forward did; another seed drops other numbers.
    assert torch.equal(found["x"].cpu(), y)
    assert torch.equal(found["again"].cpu(), y)
    assert 0.5 < float((found["other"].cpu() == y).float().mean()) < 0.75


def dropped_by(
    forward: Callable[..., Tensor], backward: Callable[..., Any], device: str
) -> dict[str, Tensor]:
    ones = torch.ones(3, 30, 50, device=device)
    seeds = [torch.tensor([seed], device=device) for seed in (7, 7, 8)]
    options: Any = ("channel", "relu", EPS, 0.25)
    y, again, other = (forward(ones, None, None, None, seed, *options) for seed in seeds)
    return {
        "y": y,
        "again": again,
        "other": other,
        "x": backward(ones, ones, None, None, None, seeds[0], *options)[0],
    }


def test_dropout_of_the_kernels_is_the_seeds(outcomes: dict[str, Any]) -> None:
    check_dropped(outcomes["dropped"])


def test_dropout_of_the_reference_is_the_seeds() -> None:
    from graftwork_attention.kernels import stem_epilogue_reference as reference

    check_dropped(dropped_by(reference.forward, reference.backward, "cpu"))


@pytest.mark.parametrize("kernels", [False, True])
def test_dropout_follows_the_generator_of_torch(kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epilogue_module, "runs_kernels", lambda x: kernels)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(stem_epilogue(torch.ones(1, 20, 30), None, None, None, norm="channel", dropout=0.5))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    before = torch.get_rng_state()
    stem_epilogue(torch.ones(1, 20, 30), None, None, None)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("norm", get_args(Norm))
def test_torch_knows_the_operation(norm: Norm) -> None:
    x, weight, bias, mask = Case(norm, dim=3, tokens=4, masked=True).inputs()
    leaves = [leaf.requires_grad_() for leaf in (x, weight) if leaf is not None]
    torch.library.opcheck(
        torch.ops.graftwork_attention.stem_epilogue.default,
        (*leaves, bias, mask, torch.tensor([3]), norm, "gelu", EPS, 0.5),
    )
    torch.library.opcheck(
        torch.ops.graftwork_attention.stem_epilogue.default,
        (leaves[0], None, None, None, None, norm, "elu", EPS, 0.0),
    )


def test_what_does_not_fit_is_refused() -> None:
    x = torch.zeros(2, 5, 3)
    with pytest.raises(ValueError, match=r"weight must have shape \(3,\) here, got \(5,\)"):
        stem_epilogue(x, torch.ones(5), None, None)
    with pytest.raises(ValueError, match=r"bias must have shape \(5,\) here, got \(3,\)"):
        stem_epilogue(x, None, torch.ones(3), None, norm="position")
    with pytest.raises(ValueError, match=r"mask must be bool \(2, 5\) here, got torch.float32 \(2, 5\)"):
        stem_epilogue(x, None, None, torch.ones(2, 5))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnADevice:
    @pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
    @pytest.mark.parametrize("activation", get_args(Activation))
    @pytest.mark.parametrize("norm", get_args(Norm))
    def test_kernels_agree_with_the_reference(
        self, norm: Norm, activation: Activation, dtype: torch.dtype
    ) -> None:
        torch.use_deterministic_algorithms(True)
        try:
            for dim in (24, 64, 512, 1000, 4096):
                case = Case(norm, activation, dim, dtype, masked=True, tokens=1003)
                check(case, case.by_kernels("cuda"))
        finally:
            torch.use_deterministic_algorithms(False)

    def test_dropout_is_the_seeds(self) -> None:
        from graftwork_attention.kernels import stem_epilogue_triton as kernels

        check_dropped(dropped_by(kernels.forward, kernels.backward, "cuda"))


def interpret_all(path: str) -> None:
    from graftwork_attention.kernels import stem_epilogue_triton as kernels

    torch.set_num_threads(1)
    # New memory holds NaN, so that what is not written is seen.
    torch.use_deterministic_algorithms(True)
    cases = [case.by_kernels() for case in CASES]
    torch.save({"cases": cases, "dropped": dropped_by(kernels.forward, kernels.backward, "cpu")}, path)


if __name__ == "__main__":
    interpret_all(sys.argv[1])
