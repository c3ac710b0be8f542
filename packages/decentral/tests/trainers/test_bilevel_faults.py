from __future__ import annotations

from typing import Literal

import pytest
import torch

from graftwork import GraftworkError
from graftwork_decentral.bilevel.level import Level
from graftwork_decentral.communication import StackedCommunicator
from graftwork_decentral.faults import Faults
from graftwork_decentral.strategies import Strategy, exact_diffusion, gt_semi_atc
from graftwork_decentral.topology import ring
from graftwork_decentral.trainers.bilevel_faults import refuse_to_continue, validate_levels


def level(strategy: Strategy) -> Level:
    return Level("lower", torch.zeros(3), strategy, StackedCommunicator(ring(6, lazy=True)), "scaled")


def test_to_continue_with_fewer_agents_is_refused() -> None:
    with pytest.raises(GraftworkError, match=r"on_failure = 'continue'.*choose 'stop'"):
        refuse_to_continue(Faults(on_failure="continue"))
    refuse_to_continue(Faults(link_loss=0.3))


@pytest.mark.parametrize("gamma", [None, 0.01])
@pytest.mark.parametrize("compressor", ["top-k", "random-k"])
def test_coarse_compression_is_refused_where_a_strategy_has_memory(
    compressor: Literal["top-k", "random-k"], gamma: float | None
) -> None:
    faults = Faults(compressor=compressor, gamma=gamma)
    validate_levels(faults, [level(gt_semi_atc())])
    with pytest.raises(GraftworkError, match=r"'exact-diffusion' \(of the lower level\) diverges"):
        validate_levels(faults, [level(gt_semi_atc()), level(exact_diffusion())])


def test_eight_bits_are_enough_for_a_strategy_with_memory() -> None:
    remembering = [level(exact_diffusion())]
    validate_levels(Faults(compressor="8-bit"), remembering)
    with pytest.raises(GraftworkError, match="diverges"):
        validate_levels(Faults(compressor="top-k"), remembering)


def test_a_delay_with_which_one_level_diverges_is_refused() -> None:
    validate_levels(Faults(delay=1), [level(gt_semi_atc())])
    with pytest.raises(GraftworkError, match=r"'exact-diffusion'.*diverges"):
        validate_levels(Faults(delay=1), [level(gt_semi_atc()), level(exact_diffusion())])
