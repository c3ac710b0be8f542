"""``graftwork predict``."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork import GraftworkError, parse_set
from graftwork_trainer.commands.train import add_set_option

if TYPE_CHECKING:
    from graftwork_trainer.usage.outputs import Form


class PredictCommand:
    """Say what a run's model makes of new inputs."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("run", metavar="RUN", help="a run directory, RUN:best or RUN:600")
        parser.add_argument(
            "inputs",
            metavar="INPUTS",
            help="a .csv, .tsv, .jsonl or .txt file, a folder, or - for standard input",
        )
        parser.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")
        parser.add_argument(
            "--format", choices=("csv", "jsonl"), help="default: by the end of FILE's name, else csv"
        )
        parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="inputs at once")
        parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: the recipe's")
        add_set_option(parser)
        parser.add_argument("--quiet", action="store_true", help="no progress bar")

    def run(self, arguments: argparse.Namespace) -> int:
        overrides = [parse_set(text) for text in arguments.set]
        if arguments.batch_size < 1:
            raise GraftworkError(f"--batch-size must be at least 1, got {arguments.batch_size}")
        out: Path | None = arguments.out
        form: Form = arguments.format or ("jsonl" if out and out.suffix == ".jsonl" else "csv")
        from tqdm import tqdm

        from graftwork_trainer.usage.outputs import Rows
        from graftwork_trainer.usage.predicting import predict_run

        predicted = predict_run(
            arguments.run,
            arguments.inputs,
            overrides=overrides,
            batch_size=arguments.batch_size,
            device=arguments.device,
        )
        first = next(predicted, None)  # before the file is made: most mistakes show here
        with (
            nullcontext(sys.stdout) if out is None else out.open("w", encoding="utf-8", newline="") as stream,
            tqdm(unit=" inputs", disable=arguments.quiet or None, file=sys.stderr) as bar,
        ):
            rows = Rows(stream, form)
            if first is not None:
                rows.write(first)
                bar.update()
            for number, one in enumerate(predicted, start=2):
                rows.write(one)
                bar.update()
                if not number % arguments.batch_size:
                    rows.flush()
        return 0
