"""One process or many: the process group, the device, and the model's wrapping as DDP or FSDP2.

Under ``torchrun`` every process runs the same recipe. ``ddp`` keeps a copy of the model on each rank
(``torch.nn.parallel.DistributedDataParallel``); ``fsdp`` shards parameters, gradients and optimizer state by
rows (``torch.distributed.fsdp.fully_shard``, known as FSDP2).
"""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import PrefixStore, Store

from graftwork import GraftworkError, Interrupted
from graftwork_trainer.device import Device, choose_device
from graftwork_trainer.roll_call import RollCall, connected_store, exchange_seconds, lost_ranks_named

Parallel = Literal["auto", "ddp", "fsdp"]


def launched_by_torchrun() -> bool:
    """Whether this process is one of several that ``torchrun`` started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def process_group(timeout_seconds: float) -> Iterator[RollCall | None]:
    """Join the process group that ``torchrun`` describes; do nothing in a single process.

    Args:
        timeout_seconds: of every exchange, the naming of who is lost counted in, and of coming together.

    Yields:
        What tells which processes still answer; None in a single process.

    Raises:
        LostRanksError: an exchange failed; the message names who does not answer.
    """
    if not launched_by_torchrun() or dist.is_initialized():
        yield None
        return
    store = connected_store(timeout_seconds)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    roll_call = RollCall(store, rank, size, timeout_seconds)
    try:
        with lost_ranks_named(roll_call), _joined(store, rank, size, timeout_seconds):
            try:
                yield roll_call
            except Interrupted:  # all of them are, at the same step
                dist.barrier()
                raise
            # A rank that left early would take the store along that the others still talk to.
            dist.barrier()
    finally:
        roll_call.close()


@contextmanager
def _joined(store: Store, rank: int, size: int, timeout_seconds: float) -> Iterator[None]:
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore("process-group", store),
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=exchange_seconds(timeout_seconds)),
    )
    try:
        yield
    finally:
        # A DDP wrapper in a reference cycle keeps the backend's threads alive into the interpreter's
        # shutdown, where one that asks for the interpreter's lock aborts the process.
        gc.collect()
        dist.destroy_process_group()


@dataclass(frozen=True, slots=True)
class World:
    """Where this process stands.

    Args:
        rank: of this process, from 0.
        size: number of processes.
        device: where the model lives.
        strategy: ``single``, ``ddp`` or ``fsdp``.
    """

    rank: int
    size: int
    device: torch.device
    strategy: Literal["single", "ddp", "fsdp"]

    @classmethod
    def current(cls, device: Device, parallel: Parallel) -> World:
        """Read it off the process group.

        Raises:
            GraftworkError: CUDA was asked for and there is none.
        """
        chosen = choose_device(device)
        rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        strategy = "single" if size == 1 else "ddp" if parallel == "auto" else parallel
        return cls(rank, size, chosen, strategy)

    @classmethod
    def alone(cls, device: torch.device) -> World:
        """One that shares its work with nobody, whatever process group there is."""
        return cls(0, 1, device, "single")

    def place(self, model: nn.Module) -> nn.Module:
        """Put the model on the device, sharded where the strategy is to shard; its parameters are final."""
        if self.strategy == "fsdp":
            shard(model, self)
            return model
        return model.to(self.device)

    def wrap(self, model: nn.Module, *, gradients: bool = True) -> nn.Module:
        """Let ranks share gradients, where the strategy and the optimizer have them do so.

        Args:
            model: as placed.
            gradients: whether there will be any; without them DDP has nothing to do but to see that all ranks
                begin alike.
        """
        if self.strategy != "ddp":
            return model
        if gradients:
            return nn.parallel.DistributedDataParallel(model)
        with torch.no_grad():
            for tensor in itertools.chain(model.parameters(), model.buffers()):
                dist.broadcast(tensor, src=0)
        return model

    def agree_on_buffers(self, model: nn.Module) -> None:
        """Give all ranks rank 0's buffers: each keeps running statistics of its own batches.

        Without, an evaluation spread over ranks is of no one model, and a checkpoint holds some rank's.
        """
        if self.size > 1:
            for buffer in model.buffers():
                whole = buffer.contiguous()
                dist.broadcast(whole, src=0)
                if whole is not buffer:
                    buffer.copy_(whole)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of a scalar over ranks."""
        if self.size > 1:
            dist.all_reduce(value)
            value /= self.size
        return value


def shard(model: nn.Module, world: World) -> None:
    """Shard a model in place: each member of its module lists (its blocks), then what is left."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    for module in list(model.modules()):
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def forget_gathered(model: nn.Module) -> None:
    """Drop the whole copies of sharded weights that a forward pass without a backward one leaves behind.

    FSDP2 keeps those of the root module for the backward pass; where none follows, the next forward pass
    would take them, whatever has become of the weights in between.
    """
    from torch.distributed.fsdp import FSDPModule

    if isinstance(model, FSDPModule):
        model.reshard()


def unwrapped(model: nn.Module) -> nn.Module:
    """The task's own model inside a DDP wrapper."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def refuse_without_gradient(model: nn.Module) -> None:
    """Refuse, under DDP, weights that a backward pass left out: the next forward pass would fail for them.

    Raises:
        GraftworkError: there are such; the message names their layer.
    """
    left_out = [name for name, p in unwrapped(model).named_parameters() if p.requires_grad and p.grad is None]
    if left_out:
        layers = dict.fromkeys(name.rpartition(".")[0] or name for name in left_out)
        raise GraftworkError(
            f"layer {next(iter(layers))!r} takes no part in the loss: {len(left_out)} trained tensors "
            "have no gradient, and DDP waits for all; freeze them (requires_grad_(False)), leave the layer "
            "out, or choose trainer.parallel = 'fsdp' or one process, which train without"
        )


@contextmanager
def gradient_sync(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Leave gradients local while they accumulate: only the last micro-batch of a step communicates."""
    from torch.distributed.fsdp import FSDPModule

    quiet: AbstractContextManager[Any] = nullcontext()
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(enabled)
    elif isinstance(model, nn.parallel.DistributedDataParallel) and not enabled:
        quiet = model.no_sync()
    with quiet:
        yield
