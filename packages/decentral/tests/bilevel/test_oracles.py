from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graftwork_decentral.bilevel.hyper_cleaning import HyperCleaning, SoftmaxHyperCleaning
from graftwork_decentral.bilevel.oracles import Oracles
from graftwork_decentral.bilevel.quadratic import Quadratic


def points(problem: Quadratic) -> tuple[Tensor, Tensor, Tensor]:
    p, q = problem.upper_variables, problem.lower_variables
    return tuple(torch.randn(problem.agents, size, dtype=torch.float64) for size in (p, q, q))  # type: ignore[return-value]


def assert_close(ours: Tensor, closed: Tensor) -> None:
    torch.testing.assert_close(ours, closed, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
@pytest.mark.parametrize("vectorize", [True, False])
def test_automatic_derivatives_are_the_closed_forms_of_problem_q(
    problem: Quadratic, mode: str, vectorize: bool
) -> None:
    x, y, z = points(problem)
    data = problem.data()
    oracles = Oracles(problem, hvp_mode=mode, vectorize=vectorize, analytic=False)  # type: ignore[arg-type]
    v = torch.einsum("aij,aj->ai", data["curvature"], y)
    v = v - torch.einsum("aij,aj->ai", data["coupling"], x) - data["shift"]
    q = torch.einsum("aij,aj->ai", data["curvature"], z) - (y - data["wanted_lower"])
    u = problem.curvature * (x - data["wanted_upper"]) + torch.einsum("aij,ai->aj", data["coupling"], z)
    assert_close(oracles.lower(x, y, data), v)
    assert_close(oracles.auxiliary(x, y, z, data), q)
    assert_close(oracles.upper(x, y, z, data), u)
    for ours, closed in zip(oracles.together(x, y, z, data), (v, q, u), strict=True):
        assert_close(ours, closed)
    own = Oracles(problem, vectorize=vectorize)
    assert_close(own.lower(x, y, data), v)
    assert_close(own.auxiliary(x, y, z, data), q)
    assert_close(own.upper(x, y, z, data), u)


def test_closed_form_of_softmax_regression_is_the_automatic_derivative() -> None:
    agents, inputs, classes, samples, rows = 3, 7, 4, 20, 6
    batch = {
        "features": torch.randn(agents, rows, inputs, dtype=torch.float64),
        "labels": torch.randint(classes, (agents, rows)),
        "index": torch.stack([torch.randperm(samples)[:rows] for _ in range(agents)]),
        "share": torch.rand(agents, rows, dtype=torch.float64),
        "clean_features": torch.randn(agents, 5, inputs, dtype=torch.float64),
        "clean_labels": torch.randint(classes, (agents, 5)),
        "clean_share": torch.rand(agents, 5, dtype=torch.float64),
    }
    closed = SoftmaxHyperCleaning(inputs, classes, samples)
    general = HyperCleaning(nn.Linear(inputs, classes), samples)
    x = torch.randn(agents, samples, dtype=torch.float64)
    y, z = torch.randn(2, agents, closed.lower_variables, dtype=torch.float64)
    own, automatic = Oracles(closed), Oracles(general)
    assert_close(own.lower(x, y, batch), automatic.lower(x, y, batch))
    assert_close(own.auxiliary(x, y, z, batch), automatic.auxiliary(x, y, z, batch))
    assert_close(own.upper(x, y, z, batch), automatic.upper(x, y, z, batch))


class NoForwardMode(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.square()

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        doubled: Tensor = 2 * ctx.saved_tensors[0]
        return doubled * slope


class NeedsReverse:
    upper_variables, lower_variables = 2, 3

    def upper_loss(self, x: Tensor, y: Tensor, batch: object) -> Tensor:
        return y.sum() + x.sum()

    def lower_loss(self, x: Tensor, y: Tensor, batch: object) -> Tensor:
        squared: Tensor = NoForwardMode.apply(y)
        return (squared * y.square()).sum() + x.sum() * y.sum()


def test_changes_to_reverse_where_forward_mode_is_not_implemented() -> None:
    x, y, z = (torch.randn(4, size, dtype=torch.float64) for size in (2, 3, 3))
    with pytest.raises((NotImplementedError, RuntimeError)):
        Oracles(NeedsReverse(), hvp_mode="forward").auxiliary(x, y, z, None)
    oracles = Oracles(NeedsReverse())
    for _ in range(2):  # the second time it does not try
        assert_close(oracles.auxiliary(x, y, z, None), 12 * y.square() * z - 1)
