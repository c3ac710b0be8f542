"""The standard trainer on a CUDA device; run by the nox session `gpu`."""

from __future__ import annotations

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
EXACT = ("task.dropout=0.0", "optimizer.name=sgd", "optimizer.lr=0.1")


def validation_losses(trained):
    return [line["validation/loss"] for line in trained.lines() if "validation/loss" in line]


def test_a_gpu_trains_like_the_cpu(train):
    cpu = validation_losses(train(*EXACT, directory="cpu"))
    gpu = train(*EXACT, "trainer.device=cuda", directory="gpu")
    assert next(gpu.model.parameters()).is_cuda
    assert validation_losses(gpu) == pytest.approx(cpu, rel=1e-4)
    result = gpu.result()
    assert 0 < result["optimizer_step_seconds"]["median"] < result["step_seconds"]["median"]
    assert 0 < result["peak_memory_bytes"] < 2**30


def test_bfloat16_autocast_on_a_gpu_stays_close(train):
    exact = validation_losses(train("trainer.device=cuda", *EXACT, directory="exact"))
    low = validation_losses(
        train("trainer.device=cuda", "trainer.precision=bfloat16", *EXACT, directory="low")
    )
    assert low == pytest.approx(exact, rel=0.05)
    assert low != exact


def test_resuming_on_a_gpu_brings_back_dropout(train):
    settings = ["trainer.device=cuda", "optimizer.name=adamw"]
    whole = validation_losses(train(*settings, directory="whole"))
    with pytest.raises(Exception, match="batches ended"):
        train(*settings, "task.ends_after=7", directory="parts")
    assert validation_losses(train(*settings, directory="parts", resume=True)) == pytest.approx(
        whole, rel=1e-6
    )
