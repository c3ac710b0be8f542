"""What a wheel brought: its files, its plugin, and how much it added to torch's own environment.

python .ci/installed.py PACKAGE DISTRIBUTION
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

MEBIBYTE = 2**20


def canonical(name: str) -> str:
    """A distribution's name as all of its spellings share it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(name: str) -> set[str]:
    """A distribution and all that it requires here, without extras."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting = [canonical(name)]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        try:
            lines = metadata.requires(one) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(one)
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonical(requirement.name))
    return found


def mebibytes(names: set[str]) -> float:
    """Size of the files of some distributions."""
    sizes = 0
    for name in names:
        for file in metadata.files(name) or []:
            path = Path(str(file.locate()))
            sizes += path.stat().st_size if path.is_file() and path.suffix != ".pyc" else 0
    return sizes / MEBIBYTE


def main(package: str, distribution: str) -> None:
    """Check the installed wheel and say what it added."""
    files = {str(file) for file in metadata.files(distribution) or []}
    assert any(file.endswith("py.typed") for file in files), "no typed marker"
    assert any("LICENSE" in file for file in files), "no licence"
    brought = closure(distribution)
    plugins = {point.name for point in metadata.entry_points(group="graftwork")}
    expected = {name.removeprefix("graftwork-") for name in brought if name.startswith("graftwork-")}
    assert plugins == expected, f"plugins {plugins}, of the distributions {expected}"
    added = brought - closure("torch")
    print(
        f"{distribution} {metadata.version(distribution)} beyond torch's own: {len(added)} distributions, "
        f"{mebibytes(added):.1f} MB ({', '.join(sorted(added))})"
    )
    resolved = subprocess.run(
        ["graftwork", "doctor", "--resolve"], check=False, capture_output=True, text=True
    )
    if resolved.returncode:
        raise SystemExit(resolved.stdout + resolved.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
