"""What the trainer package registers; imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Command, Component, Kind, hookimpl

_LLAMA_SIZES = ("tiny", "60m", "130m", "350m", "1b", "3b", "7b")


@hookimpl
def graftwork_kinds() -> Iterator[Kind]:
    """What drives the steps of a training, for trainers of any package."""
    yield Kind(
        "training-loop",
        "target(**options) -> loop: train(procedure, run) drives a Procedure (graftwork.contracts) to its "
        "end; begin(), seed_process(number) and place() come before. Those for gradients also have "
        "batches(task, device, rank, world_size, start), step_rule(task, model, optimizer, device) and "
        "autocast(device), which a procedure is made with.",
        attributes=("train", "begin", "seed_process", "place"),
    )


@hookimpl
def graftwork_components() -> Iterator[Component]:
    """The standard trainer, its tasks, models and recipes."""
    yield Component(
        Kind.TRAINER,
        "standard",
        "graftwork_trainer.standard:StandardTrainer",
        "one process, DDP or FSDP2; schedules, accumulation, exact resume",
    )
    yield Component(
        "training-loop",
        "bare",
        "graftwork_trainer.stepping_loop:SteppingLoop",
        "schedules, evaluation, early stop, checkpoints and exact resume",
    )
    yield Component(
        "training-loop",
        "standard",
        "graftwork_trainer.training_loop:TrainingLoop",
        "the same for gradients: with accumulation, clipping and autocast",
    )
    yield Component(
        Kind.TASK,
        "lm-pretrain",
        "graftwork_trainer.tasks.lm_pretrain:LanguageModelPretraining",
        "causal language-model pretraining on text, perplexity on held-out documents",
    )
    yield Component(
        Kind.TASK,
        "prompt-classification",
        "graftwork_trainer.tasks.classification.prompt_classification:PromptClassification",
        "classify text as the pretraining task: prompts with label words, no new parameters",
    )
    yield Component(
        Kind.TASK,
        "sequence-classification",
        "graftwork_trainer.tasks.classification.sequence_classification:SequenceClassification",
        "classify text by a pretrained transformer with a fresh output layer",
    )
    yield Component(
        Kind.TASK,
        "prompt-answering",
        "graftwork_trainer.tasks.answering.prompt_answering:PromptAnswering",
        "answer questions by a causal language model: options of their own, or generated answers",
    )
    for size in _LLAMA_SIZES:
        yield Component(
            Kind.MODEL,
            f"llama-{size}",
            f"graftwork_trainer.models.llama:llama_{size}",
            "LLaMA-shaped, random weights"
            + ("; for a laptop" if size == "tiny" else ", the published shape"),
            paper=None if size == "tiny" else "arXiv:2403.03507",
        )
    yield Component(
        Kind.RECIPE,
        "lm-pretrain",
        "graftwork_trainer:recipes/lm-pretrain.toml",
        "pretrain a small LLaMA on English prose, in about a minute on two cores",
    )
    yield Component(
        Kind.RECIPE,
        "zeroth-order-finetune",
        "graftwork_trainer:recipes/zeroth-order-finetune.toml",
        "fine-tune a sentence encoder on film reviews by forward passes alone",
        paper="arXiv:2410.07698",
    )
    yield Component(
        Kind.RECIPE,
        "sequence-classification",
        "graftwork_trainer:recipes/sequence-classification.toml",
        "fine-tune a sentence encoder with a fresh head on film reviews",
    )


@hookimpl
def graftwork_commands() -> Iterator[Command]:
    """``train``, ``compare``, ``report`` and ``reproduce``."""
    yield Command("train", "train a recipe", "graftwork_trainer.commands.train:TrainCommand")
    yield Command(
        "compare",
        "train variants of a recipe and compare them",
        "graftwork_trainer.commands.compare:CompareCommand",
    )
    yield Command(
        "report", "write the report of runs again", "graftwork_trainer.commands.report:ReportCommand"
    )
    yield Command(
        "reproduce",
        "measure a paper's figures beside the published ones",
        "graftwork_trainer.commands.reproduce:ReproduceCommand",
    )
