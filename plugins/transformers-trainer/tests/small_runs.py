"""Runs of a second or two: a LLaMA of 37,000 weights learns prose of Python's own, byte by byte."""

from __future__ import annotations

import argparse
import decimal
import subprocess
from pathlib import Path
from typing import Any

import torch
from graftwork_transformers_trainer import GraftworkTrainer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

STEPS, STOP = 20, 8
SEQUENCE = 32
PROSE = "\n".join(module.__doc__ or "" for module in (argparse, decimal, subprocess))
GWT = {"optimizer": "gwt-adamw", "optimizer_options": {"level": 2, "lr": 1e-2, "report": "off"}}


def sequences() -> list[dict[str, Tensor]]:
    tokens = torch.tensor(list(PROSE.encode()))
    # A multiple of the 8 in a step: how a rest is shared out depends on the number of processes.
    return [{"input_ids": row, "labels": row} for row in tokens[: 120 * SEQUENCE].reshape(120, SEQUENCE)]


def language_model(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    # With dropout, so that resuming has random numbers to restore too.
    return LlamaForCausalLM(LlamaConfig(vocab_size=256, attention_dropout=0.1, use_cache=False, **shape))


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    chosen = {
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "learning_rate": 3e-3,
        "weight_decay": 0.1,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "use_cpu": True,
        **changes,
    }
    return TrainingArguments(str(folder), **chosen)


class Stop(TrainerCallback):
    """Saves a checkpoint after a step and ends the run there."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        control.should_save = control.should_training_stop = state.global_step == self.after


def trainer(folder: Path, *, seed: int = 0, stop_after: int | None = None, **given: Any) -> Trainer:
    """A Trainer, Graftwork's if an optimizer is named."""
    kind = GraftworkTrainer if "optimizer" in given else Trainer
    changes = given.pop("changes", {})
    callbacks = [Stop(stop_after)] if stop_after else []
    model = given.pop("model", None) or language_model(seed)
    return kind(model, arguments(folder, **changes), train_dataset=sequences(), callbacks=callbacks, **given)


def trained(folder: Path, **given: Any) -> Trainer:
    run = trainer(folder, **given)
    run.train()
    return run


def resumed(folder: Path, **given: Any) -> Trainer:
    """The rest of a run that was stopped, in other weights than it began with."""
    run = trainer(folder, seed=1, **given)
    run.train(resume_from_checkpoint=str(folder / f"checkpoint-{STOP}"))
    return run


def weights(run: Trainer) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in run.model.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def losses(run: Trainer) -> list[float]:
    return [line["loss"] for line in run.state.log_history if "loss" in line]
