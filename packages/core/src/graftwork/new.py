"""``graftwork new``: files to begin with."""

from __future__ import annotations

import argparse

from graftwork.new_recipe import commented
from graftwork.registry import get_registry


class NewCommand:
    """``graftwork new recipe NAME``, which prints."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", metavar="recipe", choices=["recipe"], help="what to write: recipe")
        parser.add_argument(
            "recipe", metavar="RECIPE", help="that it begins as: a registered recipe's name, or a .toml file"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        print(commented(arguments.recipe, get_registry()), end="")
        return 0
