"""``graftwork attention``: what mixers cost at a length, and whether one keeps the contract."""

from __future__ import annotations

import argparse

from graftwork_attention.commands.check import CheckAction
from graftwork_attention.commands.profile import ProfileAction

_ACTIONS = (ProfileAction(), CheckAction())


class AttentionCommand:
    """Look at mixers before one is trained."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        for action in _ACTIONS:
            chosen = actions.add_parser(
                action.name,
                help=action.summary,
                description=action.summary,
                formatter_class=parser.formatter_class,
            )
            action.configure(chosen)
            chosen.set_defaults(chosen=action)

    def run(self, arguments: argparse.Namespace) -> int:
        code: int = arguments.chosen.run(arguments)
        return code
