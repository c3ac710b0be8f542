"""Numbered samples, in the ways in which a dataset can give them."""

from __future__ import annotations

from torch.utils.data import (
    IterableDataset,
)


class Numbered:
    """Samples with numbers, each with noise of all three global generators; some have a mishap."""

    def __init__(self, task, count):
        self.task, self.count = task, count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return self.task.sample(number)


class Iterated(IterableDataset):
    """The same one after another, in an order of the epoch's own."""

    def __init__(self, task, count):
        self.task, self.count, self.epoch = task, count, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        for number in range(self.count):
            yield self.task.sample((number + 3 * self.epoch) % self.count)


class Stateful(Iterated):
    """Finds its place itself, without a sample being made again."""

    first = 0

    def state_dict(self):
        return {"epoch": self.epoch, "first": self.first}

    def load_state_dict(self, state):
        self.epoch, self.first = state["epoch"], state["first"]

    def __len__(self):
        return self.count

    def __iter__(self):
        for number in range(self.first, self.count):
            self.first = number + 1
            yield self.task.sample((number + 3 * self.epoch) % self.count)
        self.first = 0


DATASETS = {"numbered": Numbered, "iterated": Iterated, "stateful": Stateful}
