"""Runs of a second or two: a transformer of 42,000 weights learns prose of Python's own, byte by byte."""

from __future__ import annotations

import argparse
import decimal
import subprocess
from pathlib import Path
from typing import Any

import torch
from graftwork_lightning import optimizer_for
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler

STEPS, STOP = 20, 8
SEQUENCE, WIDTH = 32, 32
PROSE = "\n".join(module.__doc__ or "" for module in (argparse, decimal, subprocess))


def sequences() -> Tensor:
    # 64 rows are 8 steps of 8: an epoch ends where the run is stopped, since Lightning does not find its
    # place within one again.
    return torch.tensor(list(PROSE.encode())[: 64 * SEQUENCE]).reshape(64, SEQUENCE)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.ModuleDict({"qkv": nn.Linear(WIDTH, 3 * WIDTH), "out": nn.Linear(WIDTH, WIDTH)})
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.attn["qkv"](self.norms[0](x)).chunk(3, dim=-1)
        x = x + self.attn["out"](F.scaled_dot_product_attention(query, key, value, is_causal=True))
        return x + self.mlp(self.norms[1](x))


class LanguageModel(LightningModule):
    """Next bytes of prose.

    Args:
        optimizer: registered name.
        options: of the optimizer.
    """

    def __init__(
        self, optimizer: str = "gwt-adamw", options: dict[str, Any] | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(256, WIDTH)
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(WIDTH, 256)
        self.losses: list[float] = []

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        predicted = self.head(self.blocks(self.embedding(batch[:, :-1])))
        loss = F.cross_entropy(predicted.flatten(0, 1), batch[:, 1:].flatten())
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = optimizer_for(self, self.hparams.optimizer, **(self.hparams.options or {}))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader[Any]:
        rows = sequences()
        # Lightning's own would shuffle, and the processes together would see other batches than one alone.
        sampler = DistributedSampler(rows, shuffle=False) if torch.distributed.is_initialized() else None
        return DataLoader(rows, batch_size=4, sampler=sampler)


class Stop(Callback):
    """Ends the run after a step."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_end(self, trainer: Trainer, *others: Any) -> None:
        trainer.should_stop = trainer.global_step == self.after


def trainer(folder: Path, *, stop_after: int | None = None, **changes: Any) -> Trainer:
    stop = [Stop(stop_after), ModelCheckpoint(folder, every_n_train_steps=stop_after)] if stop_after else []
    chosen = {
        "accelerator": "cpu",
        "devices": 1,
        "max_steps": STEPS,
        "accumulate_grad_batches": 2,
        "gradient_clip_val": 1.0,
        "logger": False,
        "enable_checkpointing": bool(stop),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": stop,
        **changes,
    }
    return Trainer(default_root_dir=folder, **chosen)


def trained(
    folder: Path,
    optimizer: str,
    options: dict[str, Any],
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    **given: Any,
) -> LanguageModel:
    model = LanguageModel(optimizer, options, seed)
    run = trainer(folder, **given)
    run.fit(model, ckpt_path=checkpoint)
    # The module forgets its trainer's optimizers otherwise.
    model.trained_by = run
    return model


def resumed(folder: Path, optimizer: str, options: dict[str, Any], **given: Any) -> LanguageModel:
    """The rest of a run that was stopped, in other weights than it began with."""
    (checkpoint,) = folder.glob("*.ckpt")
    return trained(folder / "later", optimizer, options, seed=1, checkpoint=checkpoint, **given)


def weights(model: LanguageModel) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
