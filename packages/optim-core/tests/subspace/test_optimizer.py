"""The seam: another host or transform joins by its name and touches nothing of this package.

Reached from here: ``subspace/state.py``, ``subspace/step.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from graftwork.errors import GraftworkError, UnknownNameError
from graftwork.testing import write_plugin
from graftwork_optim_core import SubspaceOptimizer
from graftwork_optim_core.subspace import pairing
from graftwork_optim_core.subspace.site import Site
from graftwork_optim_core.subspace.transform import BiasCorrection, Direction, GradientTransform


@dataclass(frozen=True)
class Columns(GradientTransform):
    """Keeps the first columns and forgets the rest."""

    count: int

    def coarse_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        return (shape[0], self.count)

    def compress(self, gradient: Tensor, site: Site) -> Tensor:
        # A NaN that only the forgotten columns hold must show all the same.
        return gradient[:, : self.count] + 0 * gradient.sum(1, keepdim=True)

    def expand(
        self, gradient: Tensor, coarse: Tensor, direction: Direction, correction: BiasCorrection, site: Site
    ) -> Tensor:
        update = torch.zeros_like(gradient)
        update[:, : self.count] = direction.quotient() * correction.root * correction.mean
        return update


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    known = pairing.class_named
    monkeypatch.setattr(
        pairing, "class_named", lambda kind, name: Columns if name == "columns" else known(kind, name)
    )
    pairing.option_defaults.cache_clear()


@pytest.mark.parametrize("modes", [{}, {"foreach": True}, {"foreach": False}, {"capturable": True}], ids=str)
def test_another_transform_meets_the_host(columns: None, modes: dict[str, bool]) -> None:
    weight = torch.randn(4, 6, dtype=torch.float64)
    gradients = [torch.randn(4, 6, dtype=torch.float64) for _ in range(5)]
    ours = torch.nn.Parameter(weight.clone())
    theirs = torch.nn.Parameter(weight[:, :2].clone())
    optimizer = SubspaceOptimizer(
        [ours],
        lr=0.1,
        transform="columns",
        transform_options={"count": 2},
        host_options={"eps": 1e-30},
        **modes,
    )
    adam = torch.optim.Adam([theirs], lr=0.1, eps=1e-30)
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient[:, :2].clone()
        optimizer.step()
        adam.step()
    torch.testing.assert_close(ours[:, :2], theirs, rtol=1e-10, atol=1e-10)
    assert torch.equal(ours[:, 2:], weight[:, 2:])
    assert optimizer.state_bytes().total == 2 * 4 * 2 * 8 + 4


def test_an_option_without_a_default_must_be_given(columns: None) -> None:
    with pytest.raises(ValueError, match="gradient-transform 'columns' needs the option 'count'"):
        SubspaceOptimizer([torch.nn.Parameter(torch.zeros(2, 2))], transform="columns")


def test_unknown_options_and_names_get_a_suggestion() -> None:
    weight = [torch.nn.Parameter(torch.zeros(2, 2))]
    with pytest.raises(ValueError, match=r"'wavelet' has no option 'levle', did you mean 'level'"):
        SubspaceOptimizer(weight, transform_options={"levle": 1})
    with pytest.raises(ValueError, match=r"optimizer-host 'msgd' has no option 'betas'"):
        SubspaceOptimizer(weight, host="msgd", host_options={"betas": (0.9, 0.99)})
    with pytest.raises(UnknownNameError, match="no gradient-transform called 'wavelte'"):
        SubspaceOptimizer(weight, transform="wavelte")


def test_a_group_may_name_another_host_and_gets_its_defaults() -> None:
    first, second = (torch.nn.Parameter(torch.zeros(4, 8)) for _ in range(2))
    optimizer = SubspaceOptimizer(
        [
            {"params": [first]},
            {"params": [second], "host": "msgd", "momentum": 0.5, "transform": "identity"},
        ],
        lr=0.1,
    )
    assert sorted(optimizer.state[first]) == ["exp_avg", "exp_avg_sq", "step"]
    assert sorted(optimizer.state[second]) == ["momentum_buffer", "step"]
    assert optimizer.param_groups[1]["dampening"] == 0.0
    for parameter in (first, second):
        parameter.grad = torch.ones(4, 8)
    optimizer.step()
    assert torch.equal(second, torch.full((4, 8), -0.1))


THIRD_PARTY = '''
from dataclasses import dataclass

from graftwork import Component, hookimpl
from graftwork_optim_core.hosts.msgd import MSGDHost


@dataclass(frozen=True)
class SignHost(MSGDHost):
    """Moves by the sign of the momentum."""

    def direction(self, averages, coarse, sites):
        from graftwork_optim_core.subspace.transform import Direction

        return [Direction(one.numerator.sign(), None) for one in super().direction(averages, coarse, sites)]


@hookimpl
def graftwork_components():
    yield Component("optimizer-host", "sign", "graftwork_sign:SignHost", "sign of the momentum")
'''


def test_a_plugin_adds_a_host_by_its_name(tmp_path: Path) -> None:
    write_plugin(tmp_path, "sign", THIRD_PARTY)
    program = (
        "import torch; from graftwork_optim_core import SubspaceOptimizer\n"
        "weight = torch.nn.Parameter(torch.zeros(2, 4)); weight.grad = torch.full((2, 4), 7.0)\n"
        "SubspaceOptimizer([weight], lr=0.5, host='sign', transform='identity').step()\n"
        "print(weight.tolist())\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    ended = subprocess.run(
        [sys.executable, "-c", program], check=True, env=environment, stdout=subprocess.PIPE
    )
    assert json.loads(ended.stdout) == [[-0.5] * 4] * 2


def test_errors_of_the_registry_are_graftworks() -> None:
    assert issubclass(UnknownNameError, GraftworkError)
