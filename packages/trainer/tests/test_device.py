"""Batches of every shape reach the device, and keep their types."""

from __future__ import annotations

from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field

import pytest
import torch

from graftwork import GraftworkError
from graftwork_trainer.device import choose_device, move

META = torch.device("meta")
Pair = namedtuple("Pair", "inputs labels")


@dataclass(frozen=True)
class Sample:
    image: torch.Tensor
    name: str
    boxes: list[torch.Tensor] = field(default_factory=list)


class Encoding(UserDict):
    """As transformers' BatchEncoding: a mapping that moves itself."""

    def to(self, device):
        return Encoding({key: value.to(device) for key, value in self.items()})


def tensor():
    return torch.zeros(2)


def devices(batch):
    """Every tensor's device in a nest."""
    if isinstance(batch, torch.Tensor):
        return [batch.device.type]
    if isinstance(batch, (dict, UserDict)):
        return [device for value in batch.values() for device in devices(value)]
    if isinstance(batch, (list, tuple)):
        return [device for value in batch for device in devices(value)]
    if isinstance(batch, Sample):
        return devices(batch.image) + devices(batch.boxes)
    return []


@pytest.mark.parametrize(
    "batch",
    [
        tensor(),
        {"inputs": tensor(), "names": ["a"]},
        OrderedDict(inputs=tensor()),
        defaultdict(list, inputs=[tensor(), 3]),
        [tensor(), (tensor(), "x")],
        Pair(tensor(), [tensor()]),
        Sample(tensor(), "a", [tensor()]),
        {"nested": Pair({"deep": tensor()}, None)},
        Encoding(inputs=tensor()),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_a_batch_is_moved_and_keeps_its_type(batch):
    moved = move(batch, META)
    assert type(moved) is type(batch)
    assert devices(moved) == ["meta"] * len(devices(batch))
    assert "cpu" in devices(batch)


def test_what_is_no_tensor_stays_what_it_is():
    thing = object()
    assert move({"a": thing, "b": 3, "c": None}, META) == {"a": thing, "b": 3, "c": None}


@dataclass
class Halved:
    """Its constructor makes something of its fields."""

    pixels: torch.Tensor
    places: torch.Tensor = field(init=False)

    def __post_init__(self):
        self.places = self.pixels
        self.pixels = self.pixels / 2


class Labelled(dict):
    """A dictionary that is made in a way of its own."""

    def __init__(self, label):
        super().__init__()
        self.label = label


class Rows(list):
    def __init__(self, count, *rows):
        super().__init__(rows)
        self.count = count


def test_moving_changes_nothing_but_the_device():
    cpu = torch.device("cpu")
    assert move(Counter(x=2), cpu) == Counter(x=2)
    halved = Halved(torch.tensor([4.0]))
    halved.places = torch.tensor([9.0])
    moved = move(halved, cpu)
    assert (moved.pixels.item(), moved.places.item()) == (2.0, 9.0)
    labelled = Labelled("a")
    labelled["inputs"] = tensor()
    assert (move(labelled, META).label, move(labelled, META)["inputs"].device.type) == ("a", "meta")
    assert labelled["inputs"].device.type == "cpu"
    rows = Rows(7, tensor())
    assert (move(rows, META).count, move(rows, META)[0].device.type) == (7, "meta")
    assert move(deque([tensor()], maxlen=1), META)[0].device.type == "meta"
    assert next(iter(move({tensor()}, META))).device.type == "meta"
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(2), torch.ones(1)])
    assert type(move(packed, cpu)) is type(packed)


def test_a_defaultdict_keeps_its_default():
    assert move(defaultdict(list, a=tensor()), META)["missing"] == []


def test_cuda_is_asked_for_in_vain(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(GraftworkError, match=r"trainer\.device is 'cuda', but torch sees no CUDA device"):
        choose_device("cuda")
