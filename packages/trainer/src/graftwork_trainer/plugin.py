"""What the trainer package registers; imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Command, Component, Kind, hookimpl


@hookimpl
def graftwork_components() -> Iterator[Component]:
    """The standard trainer, and trackers."""
    yield Component(
        Kind.TRAINER,
        "standard",
        "graftwork_trainer.standard:StandardTrainer",
        "one process, DDP or FSDP2; schedules, accumulation, exact resume",
    )
    yield Component(
        Kind.TRACKER,
        "tensorboard",
        "graftwork_trainer.trackers:TensorBoard",
        "scalars in RUN/tensorboard, where tensorboard is installed",
    )
    yield Component(
        Kind.TRACKER,
        "jsonl",
        "graftwork_trainer.trackers:JsonLinesElsewhere",
        "the lines of metrics.jsonl in a further file",
    )


@hookimpl
def graftwork_commands() -> Iterator[Command]:
    """Training, using what was trained, and looking at runs."""
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
        "verify",
        "check every byte of runs, and whether they resume exactly",
        "graftwork_trainer.commands.verify:VerifyCommand",
    )
    yield Command(
        "reproduce",
        "measure a paper's figures beside the published ones",
        "graftwork_trainer.commands.reproduce:ReproduceCommand",
    )
    yield Command(
        "export",
        "write a run's model as its own library loads it",
        "graftwork_trainer.commands.export:ExportCommand",
    )
    yield Command(
        "predict",
        "say what a run's model makes of new inputs",
        "graftwork_trainer.commands.predict:PredictCommand",
    )
    yield Command(
        "evaluate",
        "compute the metrics of a run's model, on other data too",
        "graftwork_trainer.commands.evaluate:EvaluateCommand",
    )
