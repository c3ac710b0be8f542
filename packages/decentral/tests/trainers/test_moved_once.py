from __future__ import annotations

import torch

from graftwork_decentral.trainers.moved_once import MovedOnce

META = torch.device("meta")


def test_one_batch_for_all_directions_stays_one_and_is_moved_once() -> None:
    mover, batch = MovedOnce(META), {"a": torch.ones(2)}
    first, second, third = mover((batch, batch, batch))
    assert first is second is third
    assert mover((batch,))[0] is first


def test_what_is_not_used_any_more_is_let_go() -> None:
    mover, batch = MovedOnce(META), {"a": torch.ones(2)}
    first = mover((batch,))[0]
    mover(({"a": torch.ones(2)},))
    assert mover((batch,))[0] is not first


def test_nothing_is_done_on_a_cpu() -> None:
    batches = ({"a": torch.ones(2)}, {"a": torch.ones(2)})
    assert MovedOnce(torch.device("cpu"))(batches) is batches
