"""Two machines, which are two agents of torchrun on this one."""

from __future__ import annotations

import json
import socket

from graftwork_trainer.checkpoint import open_checkpoint


def test_two_nodes_train_as_two_processes_of_one_do(launch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = (
        *("-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d"),
        f"--rdzv-endpoint=127.0.0.1:{port}",
        "--rdzv-id=toy",
    )
    train = ("train", "--no-report", "toy.toml", "--out", "run")
    agents = [launch(*train, launcher=nodes) for _ in range(2)]
    for agent in agents:
        _, said = agent.communicate(timeout=180)
        assert agent.returncode == 0, said
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert (environment["world_size"], environment["parallel"]) == (2, "ddp")
    newest = open_checkpoint(max((tmp_path / "run" / "checkpoints").glob("step-*")))
    assert (newest.step, newest.processes) == (12, 2)
