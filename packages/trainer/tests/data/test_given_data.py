"""What people give as data: torch's own classes with their options, and mistakes.

Reached from here: ``data/failures.py``, ``data/iterated.py``, ``data/numbered.py``, ``data/opening.py``,
``data/source.py``.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal

import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
    random_split,
)

import graftwork_trainer
from graftwork import GraftworkError

INPUTS = torch.linspace(-1, 1, 20)[:, None]
PAIRS = TensorDataset(INPUTS, INPUTS.sin())
RECIPE = {
    "optimizer": {"name": "adamw", "lr": 0.01},
    "trainer": {
        "name": "standard",
        "steps": 4,
        "checkpoint_every": 0,
        "device": "cpu",
        "schedule": "constant",
        "timeout_seconds": 60.0,
    },
}


class Line:
    """A task whose data are given."""

    batch_size = 4

    def __init__(self, batches=None, dataset=None):
        if dataset is not None:
            self.dataset = lambda split: dataset()
        else:
            self.batches = lambda split, *, rank, world_size, seed: batches()

    def build_model(self):
        return nn.Linear(1, 1)

    def loss(self, model, batch):
        return nn.functional.mse_loss(model(batch[0]), batch[1]), {}

    def evaluate(self, model):
        return {"loss": 1.0}


class Mishap(TensorDataset):
    def __init__(self, happen):
        super().__init__(*PAIRS.tensors)
        self.happen = happen

    def __getitem__(self, number):
        return self.happen() if number == 17 else super().__getitem__(number)


class Ready(IterableDataset):
    """Makes its batches itself."""

    def __iter__(self):
        for first in range(0, 20, 4):
            inputs = INPUTS[first : first + 4]
            yield inputs, inputs.sin() + 0.1 * torch.randn(4, 1)


def fail(*_):
    raise ValueError("no picture")


def generator_of(samples):
    yield from samples


def find_dataset(_):
    if len(get_worker_info().dataset) != 20:
        raise ValueError("another dataset")


def weighted(**given):
    return DataLoader(sampler=WeightedRandomSampler(torch.ones(20), 20), batch_size=4, **given)


@pytest.fixture
def train(toy, tmp_path):
    def run(directory="run", resume=False, task=None, **given):
        steps = {"steps": given.pop("steps", 4), "workers": given.pop("workers", 0)}
        recipe = {**RECIPE, "trainer": {**RECIPE["trainer"], **steps}}
        task = task or Line(**given)
        return graftwork_trainer.train(recipe, tmp_path / directory, task=task, quiet=True, resume=resume)

    return run


@pytest.mark.parametrize(
    ("told", "given"),
    [
        ("with __iter__, got NoneType", {"dataset": lambda: None}),
        ("with __iter__, got the class Ready", {"dataset": lambda: Ready}),
        ("must give batches to iterate over, got NoneType", {"batches": lambda: None}),
        ("sample 17 of the training data: SystemExit: 3", {"dataset": lambda: Mishap(lambda: exit(3))}),
        (
            "a worker process of the training data failed: ValueError: no picture",
            {"batches": lambda: DataLoader(PAIRS, batch_size=4, num_workers=1, worker_init_fn=fail)},
        ),
        (
            "a worker process of the training data failed: ValueError: no picture",
            {"batches": lambda: weighted(dataset=Mishap(fail), num_workers=1)},
        ),
        (
            r"the training data: DataLoader worker .* exited unexpectedly",
            {
                "batches": lambda: weighted(
                    dataset=Mishap(lambda: os.kill(os.getpid(), signal.SIGKILL)), num_workers=1, timeout=3
                )
            },
        ),
        (
            "worker process 0 cannot hand over a batch of the training data: TypeError: cannot pickle",
            {"batches": lambda: DataLoader(PAIRS, collate_fn=generator_of, batch_size=4, num_workers=1)},
        ),
    ],
)
def test_mistakes_are_told_in_a_sentence(train, told, given):
    with pytest.raises(GraftworkError, match=told):
        train(**given, steps=30)
    assert not multiprocessing.active_children()


def test_a_worker_begins_as_its_loader_says_and_finds_its_dataset(train, tmp_path):
    def begin(worker):
        find_dataset(worker)
        (tmp_path / "begun").write_text(str(worker))

    train(batches=lambda: DataLoader(PAIRS, batch_size=4, num_workers=1, worker_init_fn=begin))
    assert (tmp_path / "begun").read_text() == "0"


def test_the_workers_of_a_loader_with_an_order_of_its_own_end_with_the_training(train):
    loader = weighted(dataset=PAIRS, num_workers=1, worker_init_fn=find_dataset)
    train(batches=lambda: loader, steps=2)
    assert not multiprocessing.active_children()
    assert loader.worker_init_fn is find_dataset


@pytest.mark.parametrize("data", [Ready, lambda: list(Ready())])
def test_batches_that_a_loader_passes_on_are_exact(train, data, capsys):
    given = {"batches": lambda: DataLoader(data(), batch_size=None)}
    whole = train("whole", steps=7, **given)
    train("parts", steps=3, **given)
    parts = train("parts", steps=7, workers=1, resume=True, **given)
    assert torch.equal(whole.model.weight, parts.model.weight)
    assert "may meet other data" not in capsys.readouterr().err


def test_a_random_split_is_the_same_at_every_call_and_after_a_resumption(train):
    class Split(Line):
        def __init__(self):
            self.parts = set()

        def dataset(self, split):
            train, held_out = random_split(PAIRS, [15, 5])
            self.parts.add(tuple(train.indices))
            return train if split == "train" else held_out

        def evaluate_rows(self, model, batch):
            return {"error": (model(batch[0]) - batch[1]).square()}

        def metrics(self, rows):
            return {"loss": float(rows["error"].mean())}

    task = Split()
    train(task=task, steps=2)
    train(task=task, steps=3, resume=True)
    assert len(task.parts) == 1


def test_a_generator_that_a_dataset_keeps_is_told(train, capsys):
    class Noisy(TensorDataset):
        def __init__(self):
            super().__init__(*PAIRS.tensors)
            self.transforms = [{"noise": torch.Generator()}]

    train(dataset=Noisy)
    told = "keeps a generator of random numbers (Noisy.transforms[0]['noise'])"
    assert capsys.readouterr().err.count(told) == 1
    train("other", batches=lambda: itertools.repeat(PAIRS.tensors))
    assert "may meet other data" not in capsys.readouterr().err
