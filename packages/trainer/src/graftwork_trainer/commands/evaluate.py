"""``graftwork evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from graftwork import parse_set
from graftwork.readable import readable
from graftwork_trainer.commands.train import add_set_option


class EvaluateCommand:
    """Compute the metrics of a run's model, as training does, on held-out, test or other data."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("run", metavar="RUN", help="a run directory, RUN:best or RUN:600")
        parser.add_argument("--data", metavar="PATH", help="other data, all of it")
        parser.add_argument("--split", metavar="PART", help="validation (the default), or test")
        add_set_option(parser)
        parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: the recipe's")
        parser.add_argument("--out", type=Path, metavar="FILE", help="write the metrics as JSON, too")

    def run(self, arguments: argparse.Namespace) -> int:
        overrides = [parse_set(text) for text in arguments.set]
        from graftwork_trainer.plain_json import to_json
        from graftwork_trainer.usage.evaluating import evaluate_run

        found = evaluate_run(
            arguments.run,
            data=arguments.data,
            split=arguments.split,
            overrides=overrides,
            device=arguments.device,
        )
        if found.main:
            data = arguments.data or "its own data"
            if arguments.set:
                data = f"{arguments.data or 'data of the recipe'} with {', '.join(arguments.set)}"
            of = f"{arguments.run}, step {found.step}, {data}, {found.split}"
            print(f"{readable(of)}:")
            width = max(map(len, found.metrics))
            for name, value in found.metrics.items():
                print(f"  {name:<{width}}  {value:.6g}")
            if arguments.out is not None:
                told = {"run": arguments.run, "step": found.step, "data": arguments.data}
                content = {**told, "split": found.split, "metrics": found.metrics}
                arguments.out.write_text(to_json(content), "utf-8")
        return 0
