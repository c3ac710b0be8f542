"""The place in the data is kept in samples: whoever goes on neither repeats nor leaves out any.

Reached from here: ``data/given.py``, ``data/own_generators.py``, ``data/stream.py``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch

from graftwork_trainer.data.batches import StepBatches
from graftwork_trainer.options import GradientOptions

CPU = torch.device("cpu")
SAMPLES = 37


@pytest.fixture
def tasks(toy):
    """Tasks that give the same samples in different ways, by name."""
    from graftwork_toy.sampled import Loader, Sampled

    return {
        "dataset": lambda **options: Sampled(dropout=0.0, **options),
        "stateful": lambda **options: Sampled(kind="stateful", **options),
        "iterated": lambda **options: Sampled(kind="iterated", **options),
        "dealt out": lambda **options: Loader(order="dealt out", **options),
        "batches": lambda **options: Seeking(Sampled(**options)),
    }


class Seeking:
    """A task with batches of its own, which know their position."""

    def __init__(self, task):
        self.task = task

    def batches(self, split, *, rank, world_size, seed):
        from graftwork_trainer import EndlessBatches

        size = self.task.batch_size
        return EndlessBatches(Rows(), batch_size=size, rank=rank, world_size=world_size, seed=seed)


class Rows:
    def __len__(self):
        return SAMPLES

    def batch(self, rows):
        return {"sample": torch.from_numpy(rows)}


def take(task, steps, *, processes=1, accumulate=1, states=(None,)):
    """What all processes see in some steps, in order; and their states after."""
    options = GradientOptions(accumulate=accumulate)
    seen = []
    workers = [
        StepBatches(
            task,
            options,
            CPU,
            rank=rank,
            world_size=processes,
            state=states[rank if rank < len(states) else 0],
        )
        for rank in range(processes)
    ]
    for _ in range(steps):
        together = [worker.next_step() for worker in workers]
        for micro_batches in zip(*together, strict=True):
            seen += [number for batch in micro_batches for number in batch["sample"].tolist()]
    return seen, [worker.state() for worker in workers]


WAYS = [
    {"processes": 1, "accumulate": 1, "batch_size": 4},
    {"processes": 2, "accumulate": 1, "batch_size": 4},
    {"processes": 1, "accumulate": 3, "batch_size": 4},
    {"processes": 3, "accumulate": 2, "batch_size": 5},
    {"processes": 1, "accumulate": 1, "batch_size": 6},
]


@pytest.mark.parametrize("kind", ["dataset", "stateful", "iterated", "dealt out", "batches"])
def test_every_epoch_has_every_sample_once_however_a_run_goes_on(tasks, kind, capsys):
    """Any way of sharing steps out, after any other, in the middle of epochs."""
    for before, after in itertools.permutations(WAYS, 2):
        seen, states = [], (None,)
        for way in (before, after, before):
            given = dict(way)
            task = tasks[kind](batch_size=given.pop("batch_size"))
            more, states = take(task, 3, states=states, **given)
            seen += more
        for epoch in range(len(seen) // SAMPLES):
            assert sorted(seen[epoch * SAMPLES : (epoch + 1) * SAMPLES]) == list(range(SAMPLES))
    assert "repeated" not in capsys.readouterr().err


def test_what_an_order_is_depends_on_the_seed_alone(tasks):
    shared = [take(tasks["dataset"](batch_size=4), 12 // n, processes=n)[0] for n in (1, 2, 3)]
    assert shared[0] == shared[1] == shared[2]


def test_each_ranks_own_data_are_gone_on_with_in_their_own_order(toy, capsys):
    """A DataLoader that knows of no other ranks is one rank's own."""
    from graftwork_toy.sampled import Loader

    whole, _ = take(Loader(), 6, processes=2)
    first, states = take(Loader(), 2, processes=2)
    rest, _ = take(Loader(), 4, processes=2, states=states)
    assert first + rest == whole
    assert whole[:4] != whole[4:8]
    capsys.readouterr()
    take(Loader(), 1, states=states)
    assert "dealt out to 2 and are to 1, and have no common order" in capsys.readouterr().err


def test_batches_without_a_position_are_passed_over_and_that_is_told_on_other_processes(toy, capsys):
    from graftwork_toy.tasks import Regression

    def inputs(steps, **given):
        batches = StepBatches(Regression(), GradientOptions(), CPU, **given)
        return [batches.next_step()[0]["inputs"] for _ in range(steps)], batches.state()

    whole, _ = inputs(5)
    _, state = inputs(3)
    assert torch.equal(inputs(1, state=state)[0][0], whole[3])
    assert torch.equal(inputs(1, behind=4)[0][0], whole[4])
    assert capsys.readouterr().err == ""
    inputs(1, state=state, world_size=2)
    assert "samples may be repeated or left out" in capsys.readouterr().err


def test_one_worker_reads_an_iterable_and_what_is_read_again_is_told(tasks, capsys):
    options = replace(GradientOptions(), workers=3)
    batches = StepBatches(tasks["iterated"](), options, CPU)
    batches.next_step()
    state = batches.state()
    batches.close()
    assert "which one worker process reads, not 3" in capsys.readouterr().err
    StepBatches(tasks["iterated"](), GradientOptions(), CPU, state=state)
    assert "without state_dict: 4 samples are read again and passed over" in capsys.readouterr().err
    StepBatches(
        tasks["stateful"](),
        GradientOptions(),
        CPU,
        state={**state, "stream": {**state["stream"], "dataset": {}}},
    )
    assert capsys.readouterr().err == ""


def test_real_processes_go_on_where_others_were(train, command, tmp_path):
    """Two under DDP, then one, then two under FSDP2."""
    settings = [
        "task.name=sampled",
        f"task.seen={tmp_path / 'seen'}",
        "trainer.evaluate_every=0",
        "trainer.schedule=constant",
    ]
    options = [option for setting in settings for option in ("--set", setting)]
    begun = command(
        "train",
        "toy.toml",
        "--no-report",
        "--out",
        "run",
        *options,
        "--set",
        "trainer.steps=3",
        ranks=2,
    )
    assert begun.returncode == 0, begun.stderr
    train(*settings, "trainer.steps=5", resume=True)
    more = ("--set", "trainer.steps=11", "--set", "trainer.parallel=fsdp", "--allow", "parallel")
    ended = command("train", "--resume", "run", "--no-report", *more, ranks=2)
    assert ended.returncode == 0, ended.stderr
    seen = [int(number) for number in (tmp_path / "seen").read_text().split()]
    assert len(seen) == 3 * 8 + 2 * 4 + 6 * 8
    # Ranks write in no order, so that of the last epoch it is known alone which samples are in it.
    assert Counter(seen).most_common()[-1][1] >= 2
    assert sorted(Counter(seen[: 24 + 8]).values()) == [1] * 32
