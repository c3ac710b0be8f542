"""Skeleton attention: the reference against its formulas, the kernels against it, and what torch knows of it.

The kernels run in triton's interpreter, whose process this file is when it is run as a program, and on a
device in the session ``gpu``. Memory is filled with NaN before they write. Of ``kernels/launching.py``, and
``kernels/product_type.py``, they need everything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from graftwork_attention.kernels import launching, skeleton, skeleton_reference
from graftwork_attention.kernels.skeleton import skeleton_attention

FLOAT, DOUBLE, HALF, BRAIN = torch.float32, torch.float64, torch.float16, torch.bfloat16
TOLERANCES = {FLOAT: 1e-5, HALF: 5e-3, BRAIN: 5e-3}
EPS = 1e-5
RESULTS = (
    *("y", "q", "key_tokens", "value_tokens", "value_channels", "channel_weights"),
    *("weight1", "bias1", "weight2", "bias2"),
)


@dataclass(frozen=True)
class Case:
    """One call: of ``landmarks`` s1 and ``channels`` s2.

    Args:
        gap: numbers of NaN between the tokens of queries and value channels, as in a wider projection.
    """

    width: int = 16
    landmarks: int = 8
    channels: int = 8
    dtype: torch.dtype = FLOAT
    masked: bool = False
    batch: int = 1
    tokens: int = 35
    heads: int = 2
    gap: int = 0

    @property
    def scale(self) -> float:
        return self.width**-0.5

    def random(self, *shape: int) -> Tensor:
        return torch.randn(
            shape, generator=torch.Generator().manual_seed(len(shape) + sum(shape)), dtype=DOUBLE
        )

    def with_gap(self, heads: int, width: int) -> Tensor:
        whole = torch.full((self.batch, self.tokens, heads * width + self.gap), torch.nan, dtype=self.dtype)
        rows = self.random(self.batch, self.tokens, heads, width)
        whole[..., : heads * width] = rows.flatten(2)
        return whole[..., : heads * width].unflatten(2, (heads, width))

    def tensors(self) -> list[Tensor]:
        """Return the five inputs, NaN where landmarks are padding."""
        batch, heads = self.batch, self.heads
        keys, values = (self.random(batch, heads, self.landmarks, self.width + i)[..., i:] for i in (0, 1))
        weights = torch.softmax(self.random(batch, heads, self.width, self.channels), -1)
        valid = self.valid()
        if valid is not None:
            keys, values = (x.masked_fill(~valid[:, None, :, None], torch.nan) for x in (keys, values))
        q, chosen = self.with_gap(heads, self.width), self.with_gap(heads, self.channels)
        return [q, *(x.to(self.dtype) for x in (keys, values)), chosen, weights.to(self.dtype)]

    def valid(self) -> Tensor | None:
        """Return which landmarks are no padding: of the last of several samples none."""
        if not self.masked:
            return None
        valid = self.random(self.batch, self.landmarks) > -0.5
        valid[:, 0] = True
        if self.batch > 1:
            valid[-1] = False
        return valid

    def affine(self) -> list[Tensor]:
        whole = self.heads * self.width
        return [self.random(i, whole)[0].float() + (i % 2) for i in (1, 2, 3, 4)]

    def gradient(self) -> Tensor:
        return self.random(self.batch, self.tokens, self.heads * self.width).to(self.dtype)

    def by_autograd(self, function: Callable[..., Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        """Return Y and all gradients of a function, computed in a dtype."""
        leaves = [x.detach().to(dtype).requires_grad_() for x in (*self.tensors(), *self.affine())]
        y = function(*leaves[:5], self.valid(), *leaves[5:], EPS, self.scale)
        gradients = torch.autograd.grad(y, leaves, self.gradient().to(dtype))
        return dict(zip(RESULTS, (y.detach(), *gradients), strict=True))

    def by_kernels(self, device: str = "cpu") -> dict[str, Tensor]:
        """Return the same of the kernels; called as autograd calls them."""
        from graftwork_attention.kernels import skeleton_triton as kernels

        tensors, affine = ([x.to(device) for x in given] for given in (self.tensors(), self.affine()))
        valid = self.valid()
        inputs = (*tensors, None if valid is None else valid.to(device))
        y, statistics = kernels.forward(*inputs, *affine, EPS, self.scale)
        *gradients, weight1, weight2, bias = kernels.backward(
            *(self.gradient().to(device), *inputs, affine[0], affine[2], statistics, self.scale)
        )
        return dict(zip(RESULTS, (y, *gradients, weight1, bias, weight2, bias), strict=True))


def formulas(
    q: Tensor,
    key_tokens: Tensor,
    value_tokens: Tensor,
    value_channels: Tensor,
    channel_weights: Tensor,
    token_valid: Tensor | None,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    eps: float,
    scale: float,
) -> Tensor:
    """Return Y, every sample and head by itself."""

    def normal(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        deviations = x - x.mean(-1, keepdim=True)
        return deviations / (deviations.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias

    samples = []
    for sample in range(q.shape[0]):
        valid = slice(None) if token_valid is None else token_valid[sample]
        by_token, by_channel = [], []
        for head in range(q.shape[2]):
            keys, values = key_tokens[sample, head][valid], value_tokens[sample, head][valid]
            powers = torch.exp(scale * q[sample, :, head] @ keys.T)
            mixed = powers @ values
            by_token.append(mixed / powers.sum(1, keepdim=True) if len(keys) else mixed)
            by_channel.append(value_channels[sample, :, head] @ channel_weights[sample, head].T)
        first = normal(torch.cat(by_token, -1), weight1, bias1)
        samples.append((first + normal(torch.cat(by_channel, -1), weight2, bias2)) / 2)
    return torch.stack(samples)


def relative_rms(found: Tensor, expected: Tensor) -> float:
    """Return the error by the size of what is expected, unless that is nothing but rounding."""
    error, size = (float(x.double().square().mean().sqrt()) for x in (found.double() - expected, expected))
    return error / max(size, 1e-5)


# A thin product: every width, number of landmarks and of channels, dtype and mask beside several others.
CASES = [
    Case(),
    Case(16, 1, 1, masked=True, batch=2, tokens=5, heads=3),
    Case(24, 17, 24, masked=True, batch=2),
    Case(32, 8, 1, HALF, heads=3),
    Case(64, 8, 8, BRAIN, heads=1, gap=3),
    Case(128, 17, 8, heads=1, tokens=17),
    Case(16, 128, 8, masked=True),
    Case(128, 1, 128, HALF, heads=1, tokens=33),
    Case(32, 128, 32, BRAIN, masked=True, tokens=20),
    Case(40, 17, 40, HALF, masked=True, gap=8, heads=3, tokens=33),
    Case(64, 128, 64, heads=1, tokens=1),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reference_is_the_formulas(case: Case) -> None:
    ours = case.by_autograd(skeleton_attention, DOUBLE)
    theirs = case.by_autograd(formulas, DOUBLE)
    for name in RESULTS:
        assert relative_rms(ours[name], theirs[name].nan_to_num()) < 1e-9, name


@pytest.fixture(scope="module")
def outcomes(interpreted: Callable[[str], Any]) -> dict[Case, dict[str, Tensor]]:
    return dict(zip(CASES, interpreted(__file__), strict=True))


def check(case: Case, found: dict[str, Tensor]) -> None:
    expected = case.by_autograd(skeleton_attention, DOUBLE)
    for name in RESULTS:
        assert relative_rms(found[name].cpu(), expected[name]) <= TOLERANCES[case.dtype], name
    assert found["y"].dtype == found["q"].dtype == case.dtype


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_agree_with_the_reference_in_float64(
    case: Case, outcomes: dict[Case, dict[str, Tensor]]
) -> None:
    check(case, outcomes[case])


@pytest.mark.parametrize("dtype", [HALF, BRAIN, FLOAT], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_reference_is_as_exact_in_its_own_dtype(dtype: torch.dtype, masked: bool) -> None:
    case = Case(32, 17, 8, dtype, masked=masked, batch=2)
    found = case.by_autograd(skeleton_attention, dtype)
    expected = case.by_autograd(skeleton_attention, DOUBLE)
    for name in RESULTS:
        # Rounded after every product, not in the end alone.
        assert relative_rms(found[name], expected[name]) <= 4 * TOLERANCES[dtype], name


def test_without_weights_norms_have_none() -> None:
    case = Case(gap=2)
    inputs = (*case.tensors(), case.valid())
    ones, zeros = torch.ones(32), torch.zeros(32)
    found = skeleton_attention(*inputs, None, None, None, None, EPS, case.scale)
    assert torch.equal(found, skeleton_attention(*inputs, ones, zeros, ones, zeros, EPS, case.scale))


def test_dropout_drops_landmarks_in_the_mean() -> None:
    case = Case(tokens=2000, landmarks=3)
    inputs = (*case.tensors(), case.valid(), *case.affine(), EPS, case.scale)
    assert torch.equal(skeleton_attention(*inputs, 0.0), skeleton_attention(*inputs))
    q, keys, values = case.tensors()[:3]
    branches = [skeleton_reference.token_branch(q, keys, values, None, case.scale, p) for p in (0.0, 0.5)]
    torch.testing.assert_close(*(x.mean((0, 1)) for x in branches), atol=0.15, rtol=0.0)
    assert not torch.equal(*branches)


def arguments(masked: bool, requires_grad: bool = True) -> tuple[Any, ...]:
    case = Case(tokens=3, landmarks=2, channels=2, masked=masked, batch=2)
    tensors = [x.nan_to_num().requires_grad_(requires_grad) for x in case.tensors()]
    return *tensors, case.valid(), *(x.requires_grad_(requires_grad) for x in case.affine()), EPS, case.scale


@pytest.mark.parametrize("masked", [False, True])
def test_torch_knows_the_operation(masked: bool) -> None:
    """Its shapes, its gradients, and how to trace it."""
    torch.library.opcheck(torch.ops.graftwork_attention.skeleton_attention.default, arguments(masked))


def test_the_operation_is_the_reference_where_no_kernel_runs() -> None:
    inputs = arguments(masked=True)
    y, statistics = torch.ops.graftwork_attention.skeleton_attention(*inputs)
    expected = skeleton_attention(*inputs)
    assert torch.equal(y, expected)
    assert statistics.shape == (4, 2, 3)
    leaves = [x for x in inputs[:10] if isinstance(x, Tensor) and x.requires_grad]
    slope = torch.randn_like(y)
    for ours, theirs in zip(*(torch.autograd.grad(out, leaves, slope) for out in (y, expected)), strict=True):
        torch.testing.assert_close(ours, theirs)


class Chosen(torch.nn.Module):
    """The operation, as a device runs it."""

    def forward(self, *inputs: Any) -> Tensor:
        return skeleton_attention(*inputs, None, None, None, None, EPS, 0.5)


@pytest.mark.parametrize("kernels", [False, True])
def test_compile_without_breaks_and_export(kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skeleton, "runs_kernels", lambda q: kernels)
    inputs = arguments(masked=True, requires_grad=False)[:6]
    expected = Chosen()(*inputs)
    compiled = torch.compile(Chosen(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), expected)
    exported = torch.export.export(Chosen(), inputs)
    torch.testing.assert_close(exported.module()(*inputs), expected)
    names = {str(node.target) for node in exported.graph.nodes}
    assert any("skeleton_attention" in name for name in names) == kernels


@pytest.mark.parametrize(
    ("place", "shape", "name"),
    [
        (1, (2, 2, 2, 15), "key_tokens"),
        (2, (2, 2, 3, 16), "value_tokens"),
        (3, (2, 4, 2, 2), "value_channels"),
        (4, (2, 2, 16, 3), "channel_weights"),
        (5, (2, 3), "token_valid"),
        (6, (31,), "weight1"),
        (9, (1,), "bias2"),
    ],
)
def test_what_does_not_fit_is_refused(place: int, shape: tuple[int, ...], name: str) -> None:
    inputs = [*arguments(masked=True)]
    inputs[place] = torch.zeros(shape)
    with pytest.raises(ValueError, match=rf"{name} must have shape .* here, got"):
        skeleton_attention(*inputs)


def test_a_mask_of_numbers_is_refused() -> None:
    inputs = [*arguments(masked=True)]
    inputs[5] = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"token_valid must be bool, got torch.float32"):
        skeleton_attention(*inputs)


def test_double_precision_and_other_devices_run_no_kernel() -> None:
    assert not launching.runs_kernels(torch.zeros(1))
    assert not launching.runs_kernels(torch.zeros(1, dtype=DOUBLE, device="meta"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnADevice:
    @pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
    @pytest.mark.parametrize("masked", [False, True])
    @pytest.mark.parametrize("landmarks", [1, 8, 17, 128])
    @pytest.mark.parametrize("width", [16, 40, 64, 128])
    def test_kernels_agree_with_the_reference_in_float64(
        self, width: int, landmarks: int, masked: bool, dtype: torch.dtype
    ) -> None:
        for channels in (1, 8, width):
            case = Case(width, landmarks, channels, dtype, masked, batch=3, tokens=1003, heads=3, gap=8)
            with filled_with_nan():
                check(case, case.by_kernels("cuda"))

    def test_a_device_runs_them(self) -> None:
        inputs = [x.cuda() if isinstance(x, Tensor) else x for x in arguments(masked=True)]
        with torch.profiler.profile() as profile:
            skeleton_attention(*inputs).sum().backward()
        names = {event.key for event in profile.key_averages()}
        assert {"_forward_kernel", "_rows_gradient_kernel", "_landmarks_gradient_kernel"} <= names

    def test_two_runs_are_equal_bit_by_bit(self) -> None:
        case = Case(64, 17, 8, BRAIN, tokens=5000)
        for one, two in zip(*(case.by_kernels("cuda").values() for _ in range(2)), strict=True):
            assert torch.equal(one, two)


class filled_with_nan:  # noqa: N801 (used as a context)
    """New memory holds NaN, so that what is not written is seen."""

    def __enter__(self) -> None:
        torch.use_deterministic_algorithms(True)

    def __exit__(self, *_: object) -> None:
        torch.use_deterministic_algorithms(False)


def interpret_all(path: str) -> None:
    """Run every case through the kernels: with larger blocks, as the interpreter pays by the program."""
    from graftwork_attention.kernels import skeleton_triton as kernels

    torch.set_num_threads(1)
    tiles = kernels.tiles

    def larger(width: int, landmarks: int, channels: int, itemsize: int) -> dict[str, int]:
        blocks = {"landmark_block": min(64, launching.padded(landmarks)), "tile": 32}
        return {**tiles(width, landmarks, channels, itemsize), **blocks}

    kernels.tiles = larger
    with filled_with_nan():
        torch.save([case.by_kernels() for case in CASES], path)


if __name__ == "__main__":
    interpret_all(sys.argv[1])
