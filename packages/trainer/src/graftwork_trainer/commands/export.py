"""``graftwork export``."""

from __future__ import annotations

import argparse

from graftwork.readable import readable
from graftwork_trainer.commands.train import directory_argument


class ExportCommand:
    """Write a run's model to a folder, for use without Graftwork."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("run", metavar="RUN", help="a run directory, RUN:best or RUN:600")
        parser.add_argument(
            "folder", type=directory_argument, metavar="FOLDER", help="to make; must not exist, or be empty"
        )
        parser.add_argument(
            "--format",
            choices=("transformers", "timm", "safetensors"),
            help="fail unless the model is in this layout (default: that of its own library)",
        )

    def run(self, arguments: argparse.Namespace) -> int:
        from graftwork_trainer.usage.exporting import export

        written = export(arguments.run, arguments.folder, arguments.format)
        size = sum(facts["bytes"] for facts in written.files.values())
        print(
            f"{readable(str(arguments.folder))}: the model of step {written.step} in the layout of "
            f"{written.format}, {size / 1e6:,.1f} MB; README.md says how to load it"
        )
        return 0
