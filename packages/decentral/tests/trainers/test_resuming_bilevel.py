"""Every bilevel method with every strategy: what is resumed ends with the bits of what was not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from graftwork import GraftworkError
from graftwork_decentral import StackedCommunicator, ring
from graftwork_decentral.bilevel import methods
from graftwork_decentral.bilevel.problem import BilevelSettings
from graftwork_decentral.faults.plan import Faults
from graftwork_decentral.tasks.policy_evaluation import PolicyEvaluationTask
from graftwork_decentral.topology import full
from graftwork_decentral.trainers.bilevel_optimizer import BilevelOptimizer
from graftwork_decentral.trainers.bilevel_procedure import BilevelProcedure
from graftwork_decentral.trainers.checkpoints import AgentCheckpoints
from graftwork_trainer.checkpoint import TrainingState

EVERY = ["diffusion", "consensus", "exact-diffusion", "extra", "gt-atc", "gt-semi-atc", "gt-non-atc"]
METHODS: dict[str, Any] = {
    **{name: partial(methods.sparkle, lower=name) for name in EVERY},
    "mixed": partial(
        methods.sparkle, lower="gt-atc", auxiliary="extra", upper="diffusion", upper_graph=full(4)
    ),
    "d-soba": methods.d_soba,
    "sldbo": methods.sldbo,
    "centralized": methods.centralized,
    "ma-dsbo-gt": partial(methods.ma_dsbo_gt, lower_rounds=2, auxiliary_rounds=2),
    "mdbo": partial(methods.mdbo, terms=2),
}
STEPS = 7
Resumes = Callable[[Callable[[], Any], int, Path], None]


def made(method: Any, order: Any = "gauss_seidel", faults: Faults | None = None) -> BilevelProcedure:
    setup = PolicyEvaluationTask(states=8, features=2, batch_share=0.5).bilevel(4)
    stacked = StackedCommunicator(ring(4, lazy=True), path="differences")
    communicator = stacked if faults is None else faults.communicator(stacked)
    settings = BilevelSettings(alpha=0.1, beta=0.1, gamma=0.1, theta=0.3, order=order)
    optimizer = BilevelOptimizer(setup, communicator, settings, method)
    return BilevelProcedure(setup, communicator, optimizer, evaluate_agents=False)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_what_is_resumed_is_what_was_not_stopped(
    method: Any, tmp_path: Path, assert_resumes: Resumes
) -> None:
    assert_resumes(lambda: made(method), STEPS, tmp_path)


@pytest.mark.parametrize("method", ["exact-diffusion", "gt-non-atc"])
def test_in_jacobi_order_too(method: str, tmp_path: Path, assert_resumes: Resumes) -> None:
    assert_resumes(lambda: made(METHODS[method], "jacobi"), STEPS, tmp_path)


@pytest.mark.parametrize("faults", [Faults(compressor="8-bit"), Faults(delay=1)], ids=["compressed", "delay"])
def test_messages_that_depend_on_earlier_ones_go_on(
    faults: Faults, tmp_path: Path, assert_resumes: Resumes
) -> None:
    assert_resumes(lambda: made(METHODS["gt-semi-atc"], faults=faults), STEPS, tmp_path)


def test_the_state_of_another_strategy_is_refused(tmp_path: Path) -> None:
    saved, other = made(METHODS["exact-diffusion"]), made(METHODS["gt-atc"])
    checkpoints = AgentCheckpoints(tmp_path, saved._communicator)
    checkpoints.save(1, TrainingState(saved))
    checkpoint = checkpoints.newest()
    assert checkpoint is not None
    with pytest.raises(GraftworkError, match=r"lower level is of another strategy: .*strategy.correction"):
        TrainingState(other).restore(checkpoint)
