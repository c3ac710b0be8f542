"""Where and with what a run was made: command, host, checkout, versions, device, threads."""

from __future__ import annotations

import datetime
import platform
import subprocess
from importlib import metadata
from typing import Any

import torch

from graftwork import get_registry
from graftwork_trainer.command_line import command_line
from graftwork_trainer.own_code import describe_own_code

_LIBRARIES = ("torch", "numpy", "transformers", "tokenizers", "triton")


def describe_environment() -> dict[str, Any]:
    """Plain data for ``environment.json``: what a reader needs to judge or to repeat the numbers."""
    return {
        "command": command_line(),
        "host": platform.node() or None,
        **_checkout(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "packages": _versions(),
        **describe_own_code(),
        "device": _device_name(),
        "threads": torch.get_num_threads(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _versions() -> dict[str, str]:
    installed = [plugin for plugin in get_registry().plugins if plugin.file is None and not plugin.objects]
    plugins = {plugin.distribution: plugin.version for plugin in installed}
    versions = {"graftwork": metadata.version("graftwork"), **plugins}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123  no path of ours
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _checkout() -> dict[str, str | bool | None]:
    """The commit of the working directory, where it is a git checkout, and whether its files differ from it.

    Files that git does not know, runs for one, are not looked at.
    """
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {"commit": None}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "uncommitted_changes": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    """What git answers; None where there is no git, no checkout, or no answer within five seconds."""
    try:
        asked = subprocess.run(
            # Without the lock that git would take to remember what it found.
            ["git", "--no-optional-locks", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None
