"""Every example on every page is run: ``python`` blocks as one program per page, ``console`` blocks line by
line, ``graftwork`` alone each in a fork of one process, see ``.ci/forked_commands.py``.

A ``console`` block holds ``$ command`` lines and what they print; ``...`` stands for whatever. A block marked
``LANGUAGE FILE`` is written to that file, for the commands after it. Blocks marked ``sh``, ``toml`` or
``text`` alone are shown, not run: installing and long training have nox sessions of their own.
"""

from __future__ import annotations

import doctest
import importlib
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Region
from sybil.example import Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".ci"))
import forked_commands  # noqa: E402

# The pages of adapters are run by the adapters' own tests, where the library is that they adapt.
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("packages/*/README.md"),
        *ROOT.glob("plugins/template/README.md"),
    ]
)
# What a command says while it is silent otherwise, which on a busy machine it is for longer.
SLOWNESS = re.compile(r"^graftwork: .+, \d+ s\n", flags=re.MULTILINE)


@cache
def forks() -> Any:
    """What starts a process as a fork of one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(forked_commands.PRELOADED)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()
    return context


def printed_by(line: str, folder: Path) -> str:
    """Run a command line and return all that it prints."""
    words = shlex.split(line)
    if words[0] != "graftwork" or re.search(r"[|<>&;$*]", line):
        result = subprocess.run(
            line, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        return result.stdout
    output = folder / "printed"
    variables = {name: os.environ[name] for name in ("PATH", "COLUMNS")}
    process = forks().Process(
        target=forked_commands.run, args=(words[1:], str(Path.cwd()), str(output), variables)
    )
    process.start()
    process.join()
    return output.read_text("utf-8")


def run_console(example: Example) -> None:
    """Run each command of a block and compare what it prints."""
    commands = ("\n" + example.parsed).split("\n$ ")[1:]
    assert commands, "a console block needs at least one line that starts with `$ `"
    for command in commands:
        line, _, expected = command.partition("\n")
        with tempfile.TemporaryDirectory() as folder:
            result = printed_by(line, Path(folder))
        printed = SLOWNESS.sub("", result)
        matches = doctest.OutputChecker().check_output(
            expected.rstrip("\n"), printed.rstrip("\n"), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        )
        assert matches, f"$ {line}\nprinted\n{result}\nthe page says\n{expected}"


def parse_files(document: Document) -> Iterator[Region]:
    """The blocks that are to be written to a file."""
    for region in FencedCodeBlockLexer(r"\w+ \S+", mapping={"language": "file", "source": "text"})(document):
        region.parsed, region.evaluator = region.lexemes, write_file
        yield region


def write_file(example: Example) -> None:
    """Write a block to the file that it is marked with."""
    Path(example.parsed["file"].split()[1]).write_text(example.parsed["text"], "utf-8")


PARSERS = (
    PythonCodeBlockParser(),
    CodeBlockParser(language="console", evaluator=run_console),
    parse_files,
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_example_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What is kept for "." on the path is the folder of the page before.
    importlib.invalidate_caches()
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("COLUMNS", "80")
    # As many as the process has that others are forked from: a run says with how many it was trained.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    examples = list(Document.parse(str(page), *PARSERS).examples())
    # A block that the parsers pass over would be shown and never run.
    shown = re.findall(r"^\s*```(?:(?:python|console)\b|\w+ \S)", page.read_text("utf-8"), flags=re.MULTILINE)
    assert len(examples) == len(shown)
    for example in examples:
        example.evaluate()


def test_pages_link_to_files_that_exist() -> None:
    for page in PAGES:
        prose = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", prose):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
