"""The command line that a run was trained by, as one could type it again."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

_GIVEN_BY = "GRAFTWORK_COMMAND_LINE"
_OURS = ("__main__.py", "graftwork", "graftwork.exe")


def command_line() -> str:
    """Of this process, or of the comparison that it trains for; a script's own if it is one that trains."""
    if given := os.environ.get(_GIVEN_BY):
        return given
    program, *arguments = sys.argv or [""]
    if Path(program).name in _OURS:
        program = "graftwork"
    return shlex.join([program or "python", *arguments])


def for_children() -> dict[str, str]:
    """What a process that trains for this one has in its environment, so that it tells this one's command."""
    return {_GIVEN_BY: command_line()}
