"""Every function that has a side path, at both ends, against the same function of perturbed weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graftwork_optim_core.lozo import LOZO
from graftwork_optim_core.zeroth_order.evaluation import Evaluation

Function = Callable[[Any, Tensor], Tensor]
"""Of the weights, by attribute, and of a batch ``[6, 4, 12]``."""

WITH_PATH: dict[str, Function] = {
    "linear": lambda w, x: F.linear(x, w.matrix),
    "linear-bias": lambda w, x: F.linear(x, w.matrix, w.bias),
    "linear-named-bias": lambda w, x: F.linear(x, w.matrix, bias=w.bias),
    "linear-frozen-matrix": lambda w, x: F.linear(x, w.frozen, w.bias),
    "linear-frozen-bias": lambda w, x: F.linear(x, w.matrix, w.frozen[:, 0]),
    "linear-twice": lambda w, x: F.linear(x, w.matrix) + F.linear(x.sin(), w.matrix),
    "linear-turned": lambda w, x: F.linear(x, w.tall.t(), w.bias),
    "linear-strided": lambda w, x: F.linear(x.transpose(1, 2).contiguous().transpose(1, 2), w.matrix),
    "linear-narrow": lambda w, x: F.linear(x, w.narrow),
    "linear-narrow-its-bias": lambda w, x: F.linear(x, w.narrow, w.short),
    "linear-narrow-frozen-bias": lambda w, x: F.linear(x, w.narrow, w.frozen[:5, 0]),
    "linear-low-rank-adapter": lambda w, x: F.linear(x, w.matrix) + F.linear(F.linear(x, w.narrow), w.thin),
    "linear-of-one-row": lambda w, x: F.linear(x[:, :1], w.matrix, w.bias),
    "linear-of-rows": lambda w, x: F.linear(x.flatten(0, 1), w.matrix, w.bias),
    "linear-of-expanded": lambda w, x: F.linear(x[:, :1].expand(-1, 3, 12), w.matrix),
    "matmul": lambda w, x: x @ w.tall,
    "matmul-turned": lambda w, x: torch.matmul(x, w.matrix.t()),
    "matmul-big-t": lambda w, x: x.matmul(w.matrix.T),
    "matmul-mt": lambda w, x: x @ w.matrix.mT,
    "matmul-transpose": lambda w, x: x @ w.matrix.transpose(0, 1),
    "matmul-transpose-from-behind": lambda w, x: x @ torch.transpose(w.matrix, -1, -2),
    "mm": lambda w, x: torch.mm(x[:, 0], w.tall),
    "mm-method": lambda w, x: x[:, 0].mm(w.tall),
    "addmm": lambda w, x: torch.addmm(w.bias, x[:, 1], w.tall),
    "addmm-turned": lambda w, x: torch.addmm(w.bias, x[:, 1], w.matrix.t()),
    "addmm-frozen": lambda w, x: torch.addmm(w.frozen[:, 0], x[:, 1], w.tall),
    "embedding": lambda w, x: F.embedding((x > 0).sum(2) % 14, w.matrix),
    "embedding-padded": lambda w, x: F.embedding((x > 0).sum(2), w.matrix, padding_idx=3),
    "embedding-narrow": lambda w, x: F.embedding((x > 0).sum(2) % 5, w.narrow),
    "embedding-of-positions": lambda w, x: x + F.embedding(torch.arange(4), w.matrix),
    "embedding-of-one-row": lambda w, x: x + F.embedding(torch.arange(4).unsqueeze(0), w.matrix),
    "layer-norm": lambda w, x: F.layer_norm(x, (12,), w.gain, w.offset),
    "layer-norm-no-bias": lambda w, x: F.layer_norm(x, (12,), w.gain),
    "layer-norm-bias-alone": lambda w, x: F.layer_norm(x, (12,), None, w.offset),
    "layer-norm-two-axes": lambda w, x: F.layer_norm(x, (4, 12), w.grid),
    "layer-norm-frozen": lambda w, x: F.layer_norm(x, (12,), w.frozen[0], None) * w.gain,
    "rms-norm": lambda w, x: F.rms_norm(x, (12,), w.gain),
    "rms-norm-frozen": lambda w, x: F.rms_norm(x, (12,), w.frozen[0]) + w.offset,
    "add": lambda w, x: x + w.offset,
    "radd": lambda w, x: w.offset + x,
    "sub": lambda w, x: torch.sub(w.offset, x),
    "mul": lambda w, x: torch.mul(x, w.gain),
    "mul-number": lambda w, x: x * w.number,
    "rmul": lambda w, x: w.gain * x,
    "mul-broadcast": lambda w, x: x[..., :1] * w.gain,
    "add-of-one-batch": lambda w, x: x + w.positions,
    "conv1d": lambda w, x: F.conv1d(x.transpose(1, 2), w.kernel1, w.bias, stride=2, padding=1),
    "conv1d-no-bias": lambda w, x: F.conv1d(x.transpose(1, 2), w.kernel1, padding="same"),
    "conv2d": lambda w, x: F.conv2d(x.view(-1, 3, 4, 4), w.kernel2, w.bias, 1, 1, 1),
    "conv2d-dilated": lambda w, x: F.conv2d(x.view(-1, 3, 4, 4), w.kernel2, None, 1, 2, 2),
    "conv3d": lambda w, x: F.conv3d(x.view(-1, 1, 3, 4, 4), w.kernel3, w.bias, padding=1),
}
WITHOUT_PATH: dict[str, tuple[Function, str]] = {
    "einsum": (lambda w, x: torch.einsum("bti,oi->bto", x, w.matrix), "matrix"),
    "view": (lambda w, x: x @ w.matrix.reshape(12, 14), "matrix"),
    "weight-on-the-left": (lambda w, x: w.matrix @ x.transpose(1, 2), "matrix"),
    "penalty": (lambda w, x: F.linear(x, w.matrix) + w.matrix.square().sum(), "matrix"),
    "elementwise": (lambda w, x: x.sum() * w.matrix, "matrix"),
    "concatenated": (lambda w, x: F.linear(x, torch.cat([w.matrix, w.frozen])), "matrix"),
    "embedding-of-bounded-norm": (lambda w, x: F.embedding((x > 0).sum(2), w.matrix, max_norm=1e6), "matrix"),
    "grouped": (
        lambda w, x: F.conv2d(x.view(-1, 3, 4, 4).repeat(1, 2, 1, 1), w.kernel2[:14], None, 1, 0, 1, 2),
        "kernel2",
    ),
    "unbatched-convolution": (lambda w, x: F.conv1d(x[0].t(), w.kernel1, w.bias), "kernel1"),
    "bilinear": (lambda w, x: F.bilinear(x, x, w.pairs, w.bias), "pairs"),
    "addmm-scaled": (lambda w, x: torch.addmm(w.bias, x[:, 1], w.tall, beta=0.5), "tall"),
    "matrix-as-a-bias": (lambda w, x: torch.addmm(w.large[:6], x[:, 1], w.tall), "large"),
    "matrix-added-to-a-product": (lambda w, x: torch.addmm(w.large, x.flatten(0, 1)[:9], w.tall), "large"),
    "matrix-as-a-gain": (
        lambda w, x: F.layer_norm(x.flatten(1)[:, :9, None].expand(6, 9, 14).cumsum(2), (9, 14), w.large),
        "large",
    ),
    "matrix-as-a-gain-of-rms": (
        lambda w, x: F.rms_norm(x.flatten(1)[:, :9, None].expand(6, 9, 14).cumsum(2), (9, 14), w.large),
        "large",
    ),
    "multi-head": (
        lambda w, x: F.multi_head_attention_forward(
            *(x, x, x, 12, 2, w.packed, None, None, None, False, 0.0, w.square, w.offset)
        )[0],
        "packed",
    ),
}
BY_VALUE: dict[str, Function] = {
    "narrow-turned": lambda w, x: x @ w.narrow.t(),
    "narrow-product": lambda w, x: x[..., :5] @ w.narrow,
    "narrow-addmm": lambda w, x: torch.addmm(w.short, x[:, 1], w.narrow.t()),
    "narrow-sum": lambda w, x: F.linear(x, w.narrow + 1),
    "group-norm": lambda w, x: F.group_norm(x.transpose(1, 2), 3, w.gain, w.offset),
    "in-place-add": lambda w, x: x.clone().add_(w.offset),
    "divided": lambda w, x: x / w.gain,
    "prelu": lambda w, x: F.prelu(x, w.number.reshape(1)),
    "expanded": lambda w, x: torch.cat([w.positions[:, :1].expand(len(x), 1, 12), x], 1),
    "product-of-vectors": lambda w, x: x * (w.gain * w.offset),
    "squared": lambda w, x: x * w.gain * w.gain.square(),
    "batch-norm": lambda w, x: F.batch_norm(
        x[:, 0], torch.zeros(12).double(), torch.ones(12).double(), w.gain
    ),
}


class Weights(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        shapes = {
            "matrix": (14, 12),
            "tall": (12, 14),
            "narrow": (5, 12),
            "thin": (14, 5),
            "short": (5,),
            "large": (9, 14),
            "bias": (14,),
            "gain": (12,),
            "offset": (12,),
            "grid": (4, 12),
            "number": (),
            "positions": (1, 4, 12),
            "kernel1": (14, 12, 3),
            "kernel2": (14, 3, 3, 3),
            "kernel3": (14, 1, 3, 3, 3),
            "pairs": (14, 12, 12),
            "packed": (36, 12),
            "square": (12, 12),
        }
        torch.manual_seed(2)
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.randn(shape, dtype=torch.float64)))
        self.frozen = nn.Parameter(torch.randn(14, 12, dtype=torch.float64), requires_grad=False)
        self.function = function

    def forward(self, batch: Tensor) -> Tensor:
        return self.function(self, batch)


def ends(function: Function, backend: Any, *, decay: float = 0.0) -> tuple[list[Tensor], Evaluation]:
    """Return the outputs at both ends of a third step, and how they were evaluated."""
    model = Weights(function)
    optimizer = LOZO(
        model.named_parameters(),
        lr=0.1,
        weight_decay=decay,
        eps=0.1,
        backend=backend,
        accumulate_dtype="float64",
    )
    optimizer.attach(model)
    batch = torch.randn(6, 4, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seen: list[Tensor] = []

    def closure() -> Tensor:
        output = model(batch)
        seen.append(output.clone())
        return output.sum() * 0.01

    for _ in range(3):
        optimizer.step(closure)
    return seen[-2:], optimizer.evaluation


def assert_same(function: Function, backend: str, decay: float = 0.0) -> Evaluation:
    expected, _ = ends(function, "inplace", decay=decay)
    found, evaluation = ends(function, backend, decay=decay)
    assert (expected[0] - expected[1]).abs().max() > 1e-6
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)
    return evaluation


@pytest.mark.parametrize("function", WITH_PATH.values(), ids=WITH_PATH)
def test_side_path(function: Function) -> None:
    assert assert_same(function, "sidepath", 0.0).names_in_place() == []


@pytest.mark.parametrize("name", WITH_PATH)
def test_side_path_of_both_ends_at_once(name: str) -> None:
    evaluation = assert_same(WITH_PATH[name], "dual", 0.5)
    assert evaluation.doubling is not None
    [record] = evaluation.doubling._records.values()
    assert record is not None


@pytest.mark.parametrize(("function", "weight"), WITHOUT_PATH.values(), ids=WITHOUT_PATH)
def test_matrices_used_otherwise_are_perturbed_in_place(function: Function, weight: str) -> None:
    assert weight in assert_same(function, "sidepath", 0.5).names_in_place()


@pytest.mark.filterwarnings("ignore:the two ends of a step")
@pytest.mark.parametrize("backend", ["sidepath", "dual"])
@pytest.mark.parametrize("function", BY_VALUE.values(), ids=BY_VALUE)
def test_vectors_are_replaced_by_their_values_anywhere(function: Function, backend: str) -> None:
    assert assert_same(function, backend, 0.5).names_in_place() == []


def test_looking_at_a_weight_does_not_use_it() -> None:
    def looking(weights: Any, batch: Tensor) -> Tensor:
        matrix = weights.matrix
        assert matrix.shape == (14, 12)
        assert matrix.dtype == torch.float64
        assert len(matrix) == matrix.size(0) == matrix.numel() // 12
        assert matrix.device.type == "cpu"
        assert matrix.is_floating_point()
        assert matrix.requires_grad
        return F.linear(batch, matrix)

    assert assert_same(looking, "sidepath").names_in_place() == []


def test_under_autocast_the_side_path_has_the_dtype_of_the_product() -> None:
    layer = nn.Linear(24, 16)
    inputs, seen = torch.randn(4, 24), []
    for backend in ("inplace", "sidepath", "dual"):
        optimizer = LOZO(layer.named_parameters(), lr=0.0, eps=0.5, backend=backend)
        optimizer.attach(layer)
        outputs: list[Tensor] = []

        def closure(outputs: list[Tensor] = outputs) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                outputs.append(layer(inputs))
            return outputs[-1].float().square().mean()

        optimizer.step(closure)
        seen.append(outputs[-2:])
    for outputs in seen:
        assert outputs[0].dtype == torch.bfloat16
        torch.testing.assert_close(outputs, seen[0], rtol=0.05, atol=0.05)
