"""Link the bytecode that other environments hold into one whose files are the very same.

Every environment of nox would otherwise compile torch anew, for half a minute on each of its processes that
start together. Python itself checks bytecode against its source's size and time, which links into uv's cache
share, and writes none in place, so that what does not fit is compiled as ever.

    python .ci/bytecode.py ENVIRONMENT OTHER...
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path


def installed(environment: Path) -> Iterator[Path]:
    """The folders of packages of an environment; elsewhere than on Unix they are called otherwise."""
    yield from environment.glob("lib/python*/site-packages")


def link(target: Path, other: Path) -> int:
    """Link what a folder of packages lacks of another's bytecode; return how many files that was."""
    linked = 0
    for folder, _, files in os.walk(other):
        if not folder.endswith("__pycache__"):
            continue
        source = target / Path(folder).relative_to(other).parent
        if not source.is_dir():
            continue
        ours = source / "__pycache__"
        ours.mkdir(exist_ok=True)
        for name in files:
            # What pytest rewrote is a plugin's of its own environment.
            if not name.endswith(f".{sys.implementation.cache_tag}.pyc") or (ours / name).exists():
                continue
            try:
                os.link(Path(folder) / name, ours / name)
            except OSError:  # another file system, or one that has no links
                return linked
            linked += 1
    return linked


def main(environment: Path, *others: Path) -> None:
    """Link into one environment, from each of the others that has the same Python."""
    for target in installed(environment):
        for other in others:
            for folder in installed(other):
                if folder != target and folder.parent.name == target.parent.name:
                    link(target, folder)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
