"""No step waits for an accelerator: a whole one is a single graph, and runs on tensors that have no
values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from graftwork_optim_core.normalized.accelerated import ANSGDC
from graftwork_optim_core.normalized.nsgdc import NSGDC
from graftwork_optim_core.normalized.variance_reduced import NSGDCVR

OPTIONS: list[dict[str, Any]] = [
    {},
    {"clip": 0.5, "weight_decay": 0.1, "coupled_weight_decay": 0.1},
    {"norm": "per_tensor", "clip": 0.5, "foreach": False},
]
options = pytest.mark.parametrize("options", OPTIONS, ids=["plain", "everything", "per-tensor"])


@pytest.fixture
def compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def two_parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(4, 5)), nn.Parameter(torch.randn(3))]


@pytest.mark.parametrize(
    ("make", "options"), [*((NSGDC, options) for options in OPTIONS), (ANSGDC, OPTIONS[1])]
)
def test_a_step_is_one_graph_and_stays_it(
    compiler: None, make: type[NSGDC] | type[ANSGDC], options: dict[str, Any]
) -> None:
    graphs: list[torch.fx.GraphModule] = []

    def counted(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled, plain = two_parameters(), two_parameters()
    optimizer, eager = make(compiled, lr=torch.tensor(0.1), **options), make(plain, lr=0.1, **options)
    step = torch.compile(lambda: optimizer.step(), fullgraph=True, backend=counted)
    for number in range(4):
        for one, two in zip(compiled, plain, strict=True):
            one.grad = torch.randn_like(one)
            if number == 2:
                one.grad.view(-1)[0] = torch.nan
            two.grad = one.grad.clone()
        step()
        eager.step()
        for one, two in zip(compiled, plain, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    assert len(graphs) == 1
    assert optimizer.nonfinite_skips() == eager.nonfinite_skips() == 1
    called = {str(node.target) for node in graphs[0].graph.nodes}
    assert not called & {"item", "tolist", "nonzero", "_local_scalar_dense"}


@options
@pytest.mark.parametrize("make", [NSGDC, ANSGDC, NSGDCVR])
def test_a_step_reads_no_value_on_an_accelerator(
    make: type[NSGDC] | type[ANSGDC] | type[NSGDCVR], options: dict[str, Any]
) -> None:
    """A fake tensor raises as soon as anybody asks for a number in it."""
    with FakeTensorMode() as mode:
        parameters = [
            nn.Parameter(torch.empty(4, 5, device="cuda")),
            nn.Parameter(torch.empty(3, device="cuda")),
        ]
        optimizer = make(parameters, lr=0.1, **options)
        for number in range(3):
            for parameter in parameters:
                parameter.grad = torch.empty_like(parameter)
            if isinstance(optimizer, NSGDCVR):
                # The random generators of a device are none of the fakes.
                optimizer._began = number > 0
                movers = optimizer._movers()
                former = [torch.empty_like(mover.gradient) for mover in movers]
                with torch.no_grad(), optimizer._at_previous_point():
                    pass
                with torch.no_grad():
                    optimizer._step_on(movers, *([former] if number else []))
            else:
                optimizer.step()
        assert mode is not None
        with pytest.raises(Exception, match="_local_scalar_dense"):
            optimizer.nonfinite_skips()
