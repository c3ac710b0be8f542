"""Running what a plugin brings, so that whatever it does there stays its own.

Modules and hooks run while others wait to be loaded, and within commands whose output is read by programs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

# Of what an error says: a sentence is to be read.
LONGEST = 2000


class PluginExit(Exception):  # noqa: N818  what it carries was no error to whoever raised it
    """A plugin's code ended with what would have ended the process: its cause, ``SystemExit`` mostly."""


@contextmanager
def plugin_code() -> Iterator[None]:
    """Let what is printed go to stderr, and let nothing but an error or the user's Ctrl-C come out.

    Raises:
        PluginExit: in place of SystemExit, and of any other exception that is no ``Exception``.

    >>> with plugin_code():
    ...     raise SystemExit("needs something")
    Traceback (most recent call last):
        ...
    graftwork.plugin_code.PluginExit: SystemExit: needs something
    """
    with redirect_stdout(sys.stderr):
        try:
            yield
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise PluginExit(cause_of(error)) from error


def cause_of(error: BaseException) -> str:
    """An error as one line: its type and what it says.

    >>> cause_of(ValueError("no\\n  ink")), cause_of(SystemExit())
    ('ValueError: no ink', 'SystemExit')
    """
    text = text_of(error)
    if isinstance(error, BaseExceptionGroup):
        text = f"{text}: {'; '.join(map(cause_of, error.exceptions))}"
    return text if isinstance(error, PluginExit) else f"{type(error).__name__}: {text}".removesuffix(": ")


def text_of(error: BaseException) -> str:
    """What an error says, as one line of bounded length.

    >>> text_of(ValueError("x" * 5000))[-14:]
    'xxxxxxxxxxxxx…'
    """
    line = " ".join(said_by(error).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def said_by(error: BaseException) -> str:
    """What an error says, whatever its code makes of being asked."""
    try:
        return str(error)
    except Exception as again:
        return f"(its text cannot be made: {type(again).__name__})"
