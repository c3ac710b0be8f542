"""The command ``graftwork``: ``list``, ``info`` and ``doctor`` of its own, and the commands that plugins add.

Nothing here imports torch, and a plugin's command is imported only when it is called.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import re
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from itertools import takewhile
from typing import Any, NoReturn, TextIO, cast

from graftwork import process
from graftwork.component import Command
from graftwork.current_folder import leave_out_of_the_environment
from graftwork.errors import GraftworkError, Interrupted, did_you_mean
from graftwork.plugin_code import cause_of, plugin_code
from graftwork.plugins import core_version
from graftwork.readable import readable
from graftwork.registry import Registry, get_registry
from graftwork.standard_streams import Named, give_up, open_the_closed
from graftwork.terminal import terminal_width

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
_OUTPUT = "standard output"
PLUGIN = "--plugin"
_HELP = {"-h", "--help"}

_OWN = (
    Command("list", "what is installed, by kind", "graftwork.listing:ListCommand"),
    Command(
        "info",
        "the options of one entry: names, types, defaults, meanings",
        "graftwork.info:InfoCommand",
    ),
    Command("new", "a recipe to edit, every option with its meaning", "graftwork.new:NewCommand"),
    Command("completion", "what makes a shell complete these", "graftwork.completion:CompletionCommand"),
    Command("doctor", "check plugins and versions", "graftwork.doctor:DoctorCommand"),
)
# What a newcomer may start with, of what is installed: the command, and the reference that it needs.
_FIRST_STEPS = (
    ("graftwork list recipe", "recipes to start from", "recipe/*"),
    ("graftwork train lm-pretrain", "train one", "recipe/lm-pretrain"),
    (
        "graftwork compare lm-pretrain --over optimizer.name=adamw,gwt-adamw",
        "train variants, compare them",
        "optimizer/gwt-adamw",
    ),
    ("graftwork list", "what is installed", ""),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Exit codes: 0, 1 (doctor found something), 2 (a mistake, one sentence), 128 + the number of a signal that
    ended it.
    """
    as_program = arguments is None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if as_program:
        process.started = time.time()
        open_the_closed()
        sys.stdout = cast(TextIO, Named(sys.stdout, _OUTPUT))
        leave_out_of_the_environment()
        # What is loaded from here on lives as long as the process: looking for garbage among it, now and
        # again when the interpreter ends, takes a fifth of the time of `graftwork list`.
        gc.disable()
    try:
        registry = get_registry()
        if as_program:
            gc.freeze()
            gc.enable()
        for plugin in registry.failures:
            _say(f"warning: {plugin.label} was skipped: {plugin.cause}")
        files, arguments = _plugin_files(arguments)
        if files:
            from graftwork.plugin_file import plugin_files

            with plugin_files(files):
                code = _run(arguments, get_registry())
        else:
            code = _run(arguments, registry)
        sys.stdout.flush()
        return code
    except GraftworkError as error:
        if os.environ.get("GRAFTWORK_DEBUG"):
            raise
        return _refuse(str(error))
    except Interrupted as stop:
        _say(str(stop))
        return 128 + stop.number
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        give_up(sys.stdout)  # Python would otherwise complain once more when it flushes it at exit
        return 0
    except OSError as error:
        if os.environ.get("GRAFTWORK_DEBUG") or error.filename is None:
            raise
        if error.filename == _OUTPUT:
            give_up(sys.stdout)
        return _refuse(f"{error.filename}: {error.strerror}")


def _plugin_files(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The files that stand before the command, and the arguments without them."""
    files: list[str] = []
    rest = list(arguments)
    while rest and (rest[0] == PLUGIN or rest[0].startswith(f"{PLUGIN}=")):
        option, equals, file = rest.pop(0).partition("=")
        if not equals and not rest:
            raise GraftworkError(f"{option} needs a FILE (see `graftwork --help`)")
        files.append(file if equals else rest.pop(0))
    return files, rest


def _run(arguments: list[str], registry: Registry) -> int:
    commands = all_commands(registry)
    parser = _parser(commands, registry)
    word = next((argument for argument in arguments if not argument.startswith("-")), None)
    if word is not None and word not in commands:
        raise GraftworkError(_absent(word, commands, registry))
    if word is None:
        parser.parse_args(arguments)
        parser.print_help()
        return 0
    command = imported(commands[word])
    subparser = Parser(
        prog=f"graftwork {word}", formatter_class=HelpFormatter, description=commands[word].summary
    )
    command.configure(subparser)
    position = arguments.index(word)
    parser.parse_args(arguments[:position])
    own = arguments[position + 1 :]
    if not _HELP.isdisjoint(takewhile("--".__ne__, own)):
        return _explain(command, subparser, [argument for argument in own if argument not in _HELP])
    return _done(command, subparser.parse_args(own))


def _done(command: Any, arguments: argparse.Namespace) -> int:
    """Run a command; what somebody's code raises within comes out as one sentence."""
    try:
        return int(command.run(arguments))
    except (GraftworkError, Interrupted, KeyboardInterrupt, BrokenPipeError):
        raise
    except BaseException as error:  # one that leaves, or torch's CheckpointException, is no Exception
        if isinstance(error, OSError) and error.filename is not None:
            raise
        from graftwork.faults import Fault, sentence_of

        raise Fault(f"{sentence_of(error)}; GRAFTWORK_DEBUG=1 shows the traceback") from error


def _explain(command: Any, parser: Parser, rest: list[str]) -> int:
    """Print a command's help, and what it has to tell of what else the command line says."""
    parser.print_help()
    if rest and hasattr(command, "more_help"):
        print("\n".join(command.more_help(parser.parse_args(rest))))
    return 0


def _parser(commands: dict[str, Command], registry: Registry) -> Parser:
    width = max(map(len, commands))
    lines = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in commands.items())
    parser = Parser(
        prog="graftwork",
        usage="graftwork [--plugin FILE] COMMAND [options]",
        formatter_class=HelpFormatter,
        description="Training with new algorithms, chosen at run time.\n\ncommands:\n" + lines,
        epilog=_first_steps(commands, registry),
    )
    parser.add_argument(
        PLUGIN, metavar="FILE", help="take a Python file as a plugin for this call; may be repeated"
    )
    parser.add_argument("--version", action="version", version=f"graftwork {core_version()}")
    return parser


def _first_steps(commands: dict[str, Command], registry: Registry) -> str:
    """Recommend what is installed, and what would bring more where there is nothing to train."""
    entries = registry.entries()
    here = {"", *(entry.component.reference for entry in entries)}
    here |= {f"{entry.component.kind}/*" for entry in entries}
    steps = [
        (line, what)
        for line, what, reference in _FIRST_STEPS
        if reference in here and line.split()[1] in commands
    ]
    if "recipe/*" not in here:
        steps.append(("pip install ./packages/*", "in a clone of Graftwork: everything to train with"))
    width = max(len(line) for line, _ in steps if len(line) < 36)
    lines = [f"  {line:<{width}}  {what}" if len(line) < 36 else f"  {line}" for line, what in steps]
    return "start here:\n" + "\n".join(lines)


def all_commands(registry: Registry) -> dict[str, Command]:
    """The core's commands and those of plugins, by name."""
    return {command.name: command for command in (*_OWN, *(command for command, _ in registry.commands))}


def imported(command: Command) -> Any:
    """An instance of a command.

    Raises:
        GraftworkError: its module cannot be imported.
    """
    module, _, attribute = command.target.partition(":")
    try:
        with plugin_code():
            return getattr(import_module(module), attribute)()
    except Exception as error:
        raise GraftworkError(f"the command {command.name!r} cannot be imported: {cause_of(error)}") from error


def _absent(word: str, commands: dict[str, Command], registry: Registry) -> str:
    if word in ("help", "version"):
        return f"no command called {word!r}; it is `graftwork --{word}`"
    if word.endswith(".toml") and "train" in commands:
        return f"no command called {word!r}; a recipe is trained by `graftwork train {word}`"
    known = f"no command called {word!r}{did_you_mean(word, commands)} (commands: {', '.join(commands)})"
    return registry.package_of_command(word) or known


def _refuse(sentence: str) -> int:
    from graftwork.launcher import tell_launcher

    if tell_launcher(f"graftwork: error: {sentence}"):
        _say(f"error: {sentence}")
    return EXIT_USER_ERROR


def _say(text: str) -> None:
    # Where nobody can be told any more the exit code still says how it went.
    with contextlib.suppress(OSError):
        print(f"graftwork: {readable(text, lines=True)}", file=sys.stderr)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help that fits 80 columns, with room for long options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=min(terminal_width(), 80))


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is the same one sentence as everywhere else."""

    def error(self, message: str) -> NoReturn:
        if message.startswith(f"unrecognized arguments: {PLUGIN}"):
            message += "; it stands before the command: graftwork --plugin FILE COMMAND"
        elif setting := re.match(r"unrecognized arguments: (?:--)?(\w+\.[\w.]+=\S*)", message):
            option = "--over" if "," in setting[1] and "--over" in self._option_string_actions else "--set"
            if option in self._option_string_actions:
                message += f"; a value of the recipe is {option} {setting[1]}"
        raise GraftworkError(f"{message} (see `{self.prog} --help`)")
