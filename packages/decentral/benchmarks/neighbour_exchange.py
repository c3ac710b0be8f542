"""A one-peer exchange against an all-reduce of the same 256 KiB, on gloo processes of one machine.

    python packages/decentral/benchmarks/neighbour_exchange.py [--processes 4 8] [--rounds 40] [--repeats 7]

Every process holds one agent. Blocks of rounds of both kinds take turns, so that what else runs on the
machine slows both. A round's time is that of the slowest process; the ratio of the least and of the median
block is printed. Exits with 1 where the ratio of the least is above the bar of 0.6, or where the exchange
does not give bit for bit what one process computes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore
from torch.multiprocessing.spawn import spawn

from graftwork_decentral.communication import DistributedCommunicator, StackedCommunicator
from graftwork_decentral.topology import one_peer_exponential

NUMBERS = 256 * 1024 // 4
BAR = 0.6


def seconds_of(round_of_step: Callable[[int], object], rounds: int) -> float:
    """Return the seconds of one round, of the slowest process."""
    dist.barrier()
    begun = time.perf_counter()
    for step in range(rounds):
        round_of_step(step)
    slowest = torch.tensor([(time.perf_counter() - begun) / rounds], dtype=torch.float64)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    return float(slowest)


def measure(process: int, processes: int, port: int, rounds: int, repeats: int) -> None:
    """Be one of the processes; the first prints."""
    torch.set_num_threads(1)
    store = TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=60))
    dist.init_process_group("gloo", store=store, rank=process, world_size=processes)
    graphs = one_peer_exponential(processes)
    communicator = DistributedCommunicator(graphs, timeout_seconds=60.0)
    everyone = torch.randn(processes, NUMBERS, generator=torch.Generator().manual_seed(0))
    row = everyone[process : process + 1].clone()
    alone = StackedCommunicator(graphs, path="differences").mix(everyone, 0)
    if not torch.equal(communicator.mix(row, 0), alone[process : process + 1]):
        raise SystemExit("the exchange does not give what one process computes; nothing is measured")
    exchanges, reductions = [], []
    for _ in range(repeats + 1):
        exchanges.append(seconds_of(lambda step: communicator.mix(row, step), rounds))
        reductions.append(seconds_of(lambda step: dist.all_reduce(row.clone()), rounds))
    # The first of each has opened what is opened once.
    exchanges, reductions = exchanges[1:], reductions[1:]
    if process == 0:
        least = min(exchanges) / min(reductions)
        median = statistics.median(exchanges) / statistics.median(reductions)
        print(
            f"{processes:3d} processes: exchange {1e3 * min(exchanges):7.3f} ms, all-reduce "
            f"{1e3 * min(reductions):7.3f} ms, ratio {least:.3f} of the least and {median:.3f} of the "
            f"median; bar {BAR}: {'reached' if least <= BAR else 'NOT REACHED'}",
            flush=True,
        )
        store.set("ratio", str(least))
    dist.barrier()
    dist.destroy_process_group()


def main() -> int:
    """Print one line for every number of processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, gloo, {os.cpu_count()} cores, {NUMBERS * 4 // 1024} KiB")
    reached = True
    for processes in arguments.processes:
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        spawn(  # type: ignore[no-untyped-call]
            measure,
            (processes, store.port, arguments.rounds, arguments.repeats),
            nprocs=processes,
        )
        reached = reached and float(store.get("ratio")) <= BAR
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
