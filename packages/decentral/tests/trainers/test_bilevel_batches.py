from __future__ import annotations

import torch

from graftwork_decentral.trainers.bilevel_batches import BatchMover

META = torch.device("meta")


def test_every_tensor_of_a_nest_is_moved() -> None:
    (batch,) = BatchMover(META)(({"a": torch.ones(2), "b": (torch.ones(3), [torch.ones(4)]), "n": 7},))
    assert {batch["a"].device, batch["b"][0].device, batch["b"][1][0].device} == {META}
    assert (type(batch["b"]), batch["b"][1][0].shape, batch["n"]) == (tuple, (4,), 7)


def test_one_batch_for_all_directions_stays_one_and_is_moved_once() -> None:
    mover, batch = BatchMover(META), {"a": torch.ones(2)}
    first, second, third = mover((batch, batch, batch))
    assert first is second is third
    assert mover((batch,))[0] is first


def test_what_is_not_used_any_more_is_let_go() -> None:
    mover, batch = BatchMover(META), {"a": torch.ones(2)}
    first = mover((batch,))[0]
    mover(({"a": torch.ones(2)},))
    assert mover((batch,))[0] is not first


def test_nothing_is_done_on_a_cpu() -> None:
    batches = ({"a": torch.ones(2)}, {"a": torch.ones(2)})
    assert BatchMover(torch.device("cpu"))(batches) is batches
