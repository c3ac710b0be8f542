"""A plugin small enough to train in milliseconds: written to a folder by conftest.py and discovered like any
other; one module, as a plugin is, for all that the tests train with."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    default_collate,
)

from graftwork import Component, Finding, Kind, hookimpl


def fill(path):
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(512))


class Regression:
    """A two-layer network with dropout on a fixed function; batches without `skip`, so that resuming draws
    them."""

    unit = "rows"

    def __init__(
        self,
        *,
        batch_size: int = 8,
        dropout: float = 0.5,
        kill_at_batch: int = 0,
        infinite_from_batch: int = 0,
        pause_seconds: float = 0.0,
        missing_file: str = "",
        fill_disk_at_batch: int = 0,
        fill_disk_at: str = "",
        ends_after: int = 0,
        validation_loss_rises: bool = False,
        offset_at_root: bool = False,
        unused_layer: bool = False,
        rows: str = "without end",
    ) -> None:
        self.batch_size = batch_size
        self.dropout = dropout
        self.kill_at_batch = kill_at_batch
        self.infinite_from_batch = infinite_from_batch
        self.pause_seconds = pause_seconds
        self.missing_file = missing_file
        self.fill_disk_at_batch = fill_disk_at_batch
        self.fill_disk_at = Path(fill_disk_at)
        self.ends_after = ends_after
        self.validation_loss_rises = validation_loss_rises
        self.offset_at_root = offset_at_root
        self.unused_layer = unused_layer
        self.rows = rows
        self.evaluations = 0

    def count(self, batch):
        return len(batch["inputs"])

    def facts(self):
        return {"rows": self.rows}

    def build_model(self):
        blocks = nn.ModuleList([nn.Linear(4, 16), nn.Linear(16, 3)])
        model = nn.Sequential()
        model.blocks = blocks
        model.dropout = nn.Dropout(self.dropout)
        model.forward = lambda x: blocks[1](model.dropout(torch.tanh(blocks[0](x))))
        if self.unused_layer:
            model.spare = nn.Linear(3, 3)
        if self.offset_at_root:
            # A parameter of no block, as embeddings are.
            model.offset = nn.Parameter(torch.zeros(4))
            model.forward = lambda x: blocks[1](model.dropout(torch.tanh(blocks[0](x + model.offset))))
        return model

    def batches(self, split, *, rank, world_size, seed):
        if self.missing_file:
            Path(self.missing_file).read_text()
        number = 0
        while not self.ends_after or number < self.ends_after:
            number += 1
            time.sleep(self.pause_seconds)
            if number == self.kill_at_batch:
                os.kill(os.getpid(), signal.SIGKILL)
            if number == self.fill_disk_at_batch:
                fill(self.fill_disk_at)
            generator = torch.Generator().manual_seed(seed * 10_000 + number)
            inputs = torch.randn(self.batch_size * world_size, 4, generator=generator)
            if self.infinite_from_batch and number >= self.infinite_from_batch:
                inputs = inputs * float("inf")
            mine = inputs[rank * self.batch_size : (rank + 1) * self.batch_size]
            yield {"inputs": mine, "targets": torch.sin(mine[:, :3])}

    def loss(self, model, batch):
        loss = nn.functional.mse_loss(model(batch["inputs"]), batch["targets"])
        return loss, {"root": loss.detach().sqrt()}

    def evaluate(self, model):
        model.eval()
        with torch.no_grad():
            inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
            loss = nn.functional.mse_loss(model(inputs), torch.sin(inputs[:, :3]))
        self.evaluations += 1
        return {"loss": float(loss) + (self.evaluations if self.validation_loss_rises else 0)}


class Watching(Regression):
    """Notes the mode it is evaluated in; never sets one. Keeps its last layer in evaluation mode."""

    def __init__(self, *, dropout: float = 0.5, artefacts_fail: bool = False) -> None:
        super().__init__(dropout=dropout)
        self.artefacts_fail = artefacts_fail
        self.seen = []

    def loss(self, model, batch):
        model.blocks[1].eval()
        return super().loss(model, batch)

    def evaluate(self, model):
        self.seen.append((model.training, torch.is_grad_enabled()))
        inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
        return {"loss": nn.functional.mse_loss(model(inputs), torch.sin(inputs[:, :3]))}

    def artefacts(self, model, folder):
        if self.artefacts_fail:
            raise ValueError("no ink")
        text = f"training {model.training}, gradients {torch.is_grad_enabled()}"
        (folder / "modes.txt").write_text(text)


class Grouped(Regression):
    """Trains its first layer at a tenth of the rate that a group of its own says, and its last not at all."""

    def __init__(self, *, batch_size: int = 8) -> None:
        super().__init__(batch_size=batch_size)

    def parameter_groups(self, model):
        first, last = model.blocks
        return [
            {"params": list(first.parameters()), "lr": 0.05},
            {"params": list(last.parameters()), "lr": 0.0},
        ]


class Stream:
    """Numbered batches; passes over some by another stream, as a library of data sets does."""

    def __init__(self, task, first=0):
        self.task, self.first = task, first

    def skip(self, count):
        return Stream(self.task, self.first + count)

    def __iter__(self):
        number = self.first
        while not self.task.ends_after or number < self.task.ends_after:
            generator = torch.Generator().manual_seed(number)
            inputs = torch.randn(8, 4, generator=generator)
            yield {"inputs": inputs, "targets": torch.sin(inputs[:, :3])}
            number += 1


class Restarting(Regression):
    def __init__(self, *, ends_after: int = 0) -> None:
        super().__init__(dropout=0.0, ends_after=ends_after)

    def batches(self, split, *, rank, world_size, seed):
        return Stream(self)


def _note(path, line):
    if path:
        with Path(path).open("a") as stream:
            stream.write(f"{line}\n")


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


class Sampled(Regression):
    """Trains on a dataset of 37 samples, and is evaluated by rows on one of 11."""

    def __init__(
        self,
        *,
        batch_size: int = 4,
        dropout: float = 0.5,
        kind: str = "numbered",
        samples: int = 37,
        mishap: str = "",
        mishap_at: int = 17,
        seen: str = "",
        random: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, dropout=dropout)
        self.kind, self.samples, self.random = kind, samples, random
        self.mishap, self.mishap_at, self.seen = mishap, mishap_at, seen

    def dataset(self, split):
        if split != "train":
            return Numbered(self, 11)
        return DATASETS[self.kind](self, self.samples)

    def sample(self, number):
        if self.mishap and number == self.mishap_at:
            self.happen()
        inputs = torch.sin(torch.arange(4) + number)
        if self.random:
            noise = [torch.rand(()).item(), np.random.random(), random.random()]
            inputs = inputs + 0.1 * torch.tensor([*noise, sum(noise)])
        length = 4 if self.mishap == "longer" and number == self.mishap_at else 3
        return {"inputs": inputs, "targets": torch.sin(inputs[:length]), "sample": number}

    def happen(self):
        match self.mishap:
            case "raises":
                raise ValueError("no such picture")
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kills the training":
                os.kill(os.getppid(), signal.SIGKILL)
            case "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "exits":
                os._exit(3)
            case "bus error":
                os.kill(os.getpid(), signal.SIGBUS)

    def collate(self, samples):
        batch = default_collate(samples)
        if self.random:
            batch["inputs"] += 0.01 * torch.rand(())
        return batch

    def loss(self, model, batch):
        # Each rank is handed its own share, so that all of them together are what was seen.
        _note(self.seen, " ".join(map(str, batch["sample"].tolist())))
        return super().loss(model, batch)

    def evaluate_rows(self, model, batch):
        errors = (model(batch["inputs"]) - batch["targets"]).square().mean(1)
        return {"error": errors, "sample": batch["sample"]}

    def metrics(self, rows):
        assert rows["sample"].tolist() == list(range(11))
        return {"loss": rows["error"].double().mean()}


class Loader(Sampled):
    """The same in torch's own DataLoader, as one writes it; drawn with repetition, in an order of its own."""

    def __init__(
        self,
        *,
        batch_size: int = 4,
        dropout: float = 0.5,
        kind: str = "numbered",
        order: str = "shuffled",
        loader_workers: int = 0,
        seen: str = "",
    ) -> None:
        super().__init__(batch_size=batch_size, dropout=dropout, kind=kind, seen=seen)
        self.order, self.loader_workers = order, loader_workers

    dataset = None

    def batches(self, split, *, rank, world_size, seed):
        held_out = split != "train"
        data = Numbered(self, 11) if held_out else DATASETS[self.kind](self, self.samples)
        given = {
            "batch_size": self.batch_size,
            "num_workers": self.loader_workers,
            "collate_fn": self.collate,
        }
        match "in order" if held_out or self.kind != "numbered" else self.order:
            case "in order":
                return DataLoader(data, **given)
            case "shuffled":
                return DataLoader(data, shuffle=True, **given)
            case "repeated":
                return DataLoader(data, sampler=RandomSampler(data, replacement=True), **given)
            case "dealt out":
                sampler = DistributedSampler(data, num_replicas=world_size, rank=rank)
                return DataLoader(data, sampler=sampler, **given)


class Augmented(Regression):
    """Adds noise of the global generator to its batches, which cannot be passed over but by drawing them."""

    def batches(self, split, *, rank, world_size, seed):
        for batch in super().batches(split, rank=rank, world_size=world_size, seed=seed):
            yield {**batch, "inputs": batch["inputs"] + 0.1 * torch.randn_like(batch["inputs"])}


class Drawing(Regression):
    """Draws from the global generator when it is evaluated; calls a metric of training `loss`."""

    def __init__(self, *, metric: str = "loss", directions: str = "lower", groups: str = "") -> None:
        super().__init__()
        self.metric = metric
        self.metric_directions = {metric: directions}
        self.groups = groups

    def loss(self, model, batch):
        return super().loss(model, batch)[0], {"loss": 123.0}

    def evaluate(self, model):
        torch.randn(3)
        return {self.metric: super().evaluate(model)["loss"]}

    def parameter_groups(self, model):
        if self.groups == "parameters":
            return model.parameters()
        settings = {"learning_rate": 5.0} if self.groups else {}
        return [{"params": model.parameters(), **settings}]


class Rows(Regression):
    """Evaluated by rows: 37 numbered examples in another order, batches of 5, a metric that is no mean."""

    metric_directions: ClassVar = {"agreement": "higher", "loss": "lower"}

    def __init__(
        self, *, batch_size: int = 8, as_iterator: bool = False, fails_on_rank: int = -1, norm: bool = False
    ) -> None:
        super().__init__(batch_size=batch_size, dropout=0.0)
        self.norm = norm
        self.as_iterator = as_iterator
        self.fails_on_rank = fails_on_rank

    def build_model(self):
        model = super().build_model()
        if self.norm:
            plain = model.forward
            model.norm = nn.BatchNorm1d(4)
            model.forward = lambda x: plain(model.norm(x))
        return model

    def batches(self, split, *, rank, world_size, seed):
        if split == "train":
            return super().batches(split, rank=rank, world_size=world_size, seed=seed)
        generator = torch.Generator().manual_seed(2)
        inputs, order = torch.randn(37, 4, generator=generator), torch.randperm(37, generator=generator)
        batches = [{"inputs": inputs[rows], "sample": rows} for rows in order.split(5)]
        batches = batches[rank::world_size]
        return iter(batches) if self.as_iterator else batches

    def evaluate_rows(self, model, batch):
        if int(os.environ.get("RANK", "0")) == self.fails_on_rank:
            raise ValueError("this rank has no luck")
        inputs = batch["inputs"]
        targets = torch.sin(inputs[:, :3])
        return {
            "sample": batch["sample"],
            "error": (model(inputs) - targets).square().mean(1),
            "first": model(inputs)[:, 0],
            "target": targets[:, 0],
            "name": [f"row {number}" for number in batch["sample"].tolist()],
        }

    def metrics(self, rows):
        assert rows["name"] == [f"row {number}" for number in range(37)]
        ranks = [rows[name].argsort().argsort().double() for name in ("first", "target")]
        return {
            "agreement": torch.corrcoef(torch.stack(ranks))[0, 1],
            "loss": rows["error"].double().mean(),
        }


class Evolution(torch.optim.Optimizer):
    """Two-point zeroth-order descent: asks for the loss twice a step, never for a gradient."""

    closure = "loss"

    def __init__(self, params, lr: float = 0.05, scale: float = 1e-2) -> None:
        super().__init__(params, {"lr": lr, "scale": scale})
        self.generator_seed = 0
        self.losses: list[list[float]] = []
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["step"] = torch.zeros(())

    def _shift(self, seed, factor):
        generator = torch.Generator().manual_seed(seed)
        for group in self.param_groups:
            for parameter in group["params"]:
                noise = torch.randn(parameter.shape, generator=generator)
                if isinstance(parameter, DTensor):
                    noise = distribute_tensor(noise, parameter.device_mesh, parameter.placements)
                parameter.data.add_(noise, alpha=factor)

    def step(self, closure):
        (group,) = self.param_groups
        first = next(iter(self.state.values()))["step"]
        seed = int(first)
        scale = group["scale"]
        self._shift(seed, scale)
        up = float(closure())
        self._shift(seed, -2 * scale)
        down = float(closure())
        self._shift(seed, scale)
        self._shift(seed, -group["lr"] * (up - down) / (2 * scale))
        for state in self.state.values():
            state["step"] += 1
        self.losses.append([up, down])
        return up


class Sharing(Evolution):
    """Averages over ranks itself, is shown the model, and puts zeros in place of the weights to evaluate.

    What it saw goes to a file of each rank where ``seen`` names one.
    """

    def __init__(
        self, params, lr: float = 0.05, scale: float = 1e-2, data_parallel: str | None = None, seen: str = ""
    ) -> None:
        super().__init__(params, lr, scale)
        self.data_parallel = data_parallel
        self.seen = seen
        self.model = None
        self.modes: list[bool] = []

    def attach(self, model):
        self.model = model

    def eval(self):
        self.kept = [p.detach().clone() for group in self.param_groups for p in group["params"]]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.zero_()

    def train(self):
        for group in self.param_groups:
            for parameter, kept in zip(group["params"], self.kept, strict=True):
                parameter.data.copy_(kept)

    def step(self, closure):
        def averaged():
            loss = closure().clone()
            self.modes.append(self.model.training)
            self.local.append(float(loss))
            if self.data_parallel == "average":
                dist.all_reduce(loss)
                loss /= dist.get_world_size()
            return loss

        self.local = []
        super().step(averaged)
        if self.seen:
            line = json.dumps([self.data_parallel, type(self.model).__name__, *self.local])
            with Path(f"{self.seen}-{os.environ.get('RANK', '0')}.jsonl").open("a") as stream:
                stream.write(f"{line}\n")
        return torch.tensor(self.losses[-1]).mean()


class Twice(torch.optim.SGD):
    """Evaluates the gradient twice at the same parameters and keeps both, then steps: variance reduction's
    contract."""

    closure = "gradient"

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def attach(self, model):
        self.model = model

    def step(self, closure):
        parameter = self.param_groups[0]["params"][0]
        loss = closure()
        first = parameter.grad.clone()
        closure()
        self.pairs.append((first, parameter.grad.clone()))
        super().step()
        return loss


class Matrices(torch.optim.SGD):
    """Trains matrices alone, and leaves the gradients of all else where they are."""

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__([parameter for parameter in params if parameter.ndim == 2], lr=lr)


class Rateless(torch.optim.Optimizer):
    """Calls its learning rate otherwise."""

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, {"rate": lr})

    def step(self):
        return


class Early(torch.optim.SGD):
    """Steps each weight as soon as its gradient is complete, if asked to; takes the length of the run."""

    def __init__(self, params, lr: float = 0.1, total_steps: int | None = None) -> None:
        super().__init__(params, lr=lr)
        self.total_steps = total_steps

    def step_in_backward(self, micro_batches):
        self.left = dict.fromkeys(self.param_groups[0]["params"], micro_batches)
        self.micro_batches = micro_batches
        for parameter in self.left:
            parameter.register_post_accumulate_grad_hook(self._complete)

    def _complete(self, parameter):
        self.left[parameter] -= 1
        if not self.left[parameter]:
            parameter.data.sub_(parameter.grad, alpha=self.param_groups[0]["lr"])
            parameter.grad, self.left[parameter] = None, self.micro_batches


class FailingTracker:
    """Fails where it is told to."""

    def __init__(self, event: str) -> None:
        self.event = event

    def open(self, run, step, recipe):
        assert recipe["task"]["name"]
        self.happen("open")

    def record(self, step, metrics):
        self.happen("record")

    def close(self):
        self.happen("close")

    def happen(self, event):
        if event == self.event:
            raise RuntimeError("nobody is there")


class Telling:
    """Writes a word down at the end."""

    def __init__(self, path: Path, word: str = "ended") -> None:
        self.path, self.word = path, word

    def on_end(self, moment):
        _note(str(self.path), f"{self.word}-{moment.step}")


def reproduce(output, factor: float = 1.0):
    """A reproduction that is arithmetic."""
    (output / "figure.txt").write_text(str(factor))
    return [Finding("two times factor", published=2 * factor / 1.1, measured=2 * factor, note="arithmetic")]


@hookimpl
def graftwork_components():
    here = "graftwork_toy"
    yield Component(Kind.TASK, "regression", f"{here}:Regression", "for tests")
    yield Component(Kind.TASK, "rows", f"{here}:Rows", "evaluated by rows")
    yield Component(Kind.TASK, "restarting", f"{here}:Restarting", "skips by another stream")
    yield Component(Kind.TASK, "sampled", f"{here}:Sampled", "a dataset")
    yield Component(Kind.TASK, "loader", f"{here}:Loader", "batches of a DataLoader")
    yield Component(Kind.TASK, "augmented", f"{here}:Augmented", "batches of the global generator")
    yield Component(Kind.TASK, "drawing", f"{here}:Drawing", "draws when it is evaluated")
    yield Component(Kind.OPTIMIZER, "lbfgs", "torch.optim:LBFGS", "wants a closure")
    yield Component(Kind.TASK, "watching", f"{here}:Watching", "notes its mode")
    yield Component(Kind.TASK, "grouped", f"{here}:Grouped", "makes groups")
    yield Component(Kind.OPTIMIZER, "sgd", "torch.optim:SGD", "torch's")
    yield Component(Kind.OPTIMIZER, "adamw", "torch.optim:AdamW", "torch's")
    yield Component(Kind.OPTIMIZER, "evolution", f"{here}:Evolution", "zeroth order")
    yield Component(Kind.OPTIMIZER, "sharing", f"{here}:Sharing", "zeroth order that averages itself")
    yield Component(Kind.OPTIMIZER, "twice", f"{here}:Twice", "two gradients a step")
    yield Component(Kind.OPTIMIZER, "matrices", f"{here}:Matrices", "trains some weights")
    yield Component(Kind.OPTIMIZER, "rateless", f"{here}:Rateless", "has no lr in its groups")
    yield Component(Kind.OPTIMIZER, "early", f"{here}:Early", "steps in the backward pass")
    yield Component(Kind.TRACKER, "failing", f"{here}:FailingTracker", "fails")
    yield Component(Kind.CALLBACK, "telling", f"{here}:Telling", "writes a word at the end")
    yield Component(Kind.REPRODUCTION, "toy", f"{here}:reproduce", "for tests")
