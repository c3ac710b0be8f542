"""Hessian products by all ways, and which way is chosen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from graftwork_decentral.flatness.metrics import HessianProduct, ParameterSpec, flat_objective, hessian_trace
from graftwork_decentral.flatness.metrics.hessian_product import HESSIAN_MODES, HessianMode


def small_net() -> tuple[Any, Tensor]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    inputs, targets = torch.randn(16, 3, dtype=torch.float64), torch.randint(0, 2, (16,))
    objective = flat_objective(
        model, lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), (inputs, targets)
    )
    return objective, ParameterSpec.of(model).flatten(model)


@pytest.mark.parametrize("mode", HESSIAN_MODES)
def test_every_mode_gives_the_exact_product_on_a_small_net(mode: HessianMode) -> None:
    objective, point = small_net()
    exact = torch.func.hessian(objective)(point)
    product = HessianProduct(objective, point, mode=mode)
    for _ in range(2):
        vector = torch.randn_like(point)
        torch.testing.assert_close(product(vector), exact @ vector)


def test_forward_over_reverse_is_taken_where_it_works() -> None:
    objective, point = small_net()
    product = HessianProduct(objective, point)
    assert product.mode is None
    product(point)
    assert product.mode == "forward-over-reverse"


class Cubed(torch.autograd.Function):
    """An operator of the old style: no forward derivative, no functional transforms."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values**3

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> Tensor:
        values: Tensor = ctx.saved_tensors[0]
        return 3 * values**2 * slopes


def test_an_operator_without_forward_derivative_falls_back_to_reverse() -> None:
    product = HessianProduct(lambda w: Cubed.apply(w).sum(), torch.tensor([1.0, 2.0]))
    assert product(torch.tensor([1.0, 1.0])).tolist() == [6.0, 12.0]
    assert product.mode == "reverse-over-reverse"


class Attending(nn.Module):
    """One attention layer."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8, bias=False) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        heads = [
            layer(tokens).unflatten(-1, (2, 4)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        return F.scaled_dot_product_attention(*heads)


def test_fused_attention_is_taken_apart() -> None:
    """The fused operator has neither a forward derivative nor a second backward."""
    model, tokens = Attending(), torch.randn(2, 6, 8)
    objective = flat_objective(model, lambda model, batch: model(batch).square().sum(), tokens)
    point = ParameterSpec.of(model).flatten(model)
    with pytest.raises(NotImplementedError, match="forward AD"):
        HessianProduct(objective, point, mode="forward-over-reverse")(point)
    product = HessianProduct(objective, point)
    vector = torch.randn_like(point)
    found = product(vector)
    assert product.mode == "unfused-attention"
    with sdpa_kernel(SDPBackend.MATH):
        expected = torch.func.jvp(torch.func.grad(objective), (point,), (vector,))[1]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert hessian_trace(objective, point, probes=2).standard_error > 0


def test_an_error_of_the_objective_itself_is_not_hidden() -> None:
    def broken(_: Tensor) -> Tensor:
        raise RuntimeError("the batch is empty")

    with pytest.raises(RuntimeError, match="the batch is empty"):
        HessianProduct(broken, torch.zeros(2))(torch.zeros(2))


def test_a_linear_function_has_no_curvature() -> None:
    for mode in HESSIAN_MODES:
        product = HessianProduct(lambda w: 2 * w.sum(), torch.zeros(2), mode=mode)
        assert product(torch.ones(2)).tolist() == [0.0, 0.0]


def test_it_works_where_gradients_are_off() -> None:
    objective, point = small_net()
    with torch.no_grad():
        for mode in HESSIAN_MODES:
            assert float(HessianProduct(objective, point, mode=mode)(point).norm()) > 0


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"point must be \[parameters\], got \[1, 2\]"):
        HessianProduct(lambda w: w.sum(), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="mode must be None or one of forward-over-reverse"):
        HessianProduct(lambda w: w.sum(), torch.zeros(1), mode="guess")  # type: ignore[arg-type]
