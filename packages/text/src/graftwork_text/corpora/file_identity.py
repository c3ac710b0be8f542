"""What identifies a corpus of files: the digest of each, to which what is read of it is held."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from graftwork_trainer.file_digests import digests_of
from graftwork_trainer.known_file import KnownFile


def known_files(paths: Mapping[str, Path]) -> dict[str, KnownFile]:
    """Some files with their digests.

    Args:
        paths: existing files by part.

    Raises:
        GraftworkError: one cannot be read.
    """
    return {part: KnownFile(path, digests_of([path], book=path)[0], path) for part, path in paths.items()}


def digests(files: Mapping[str, KnownFile]) -> dict[str, str]:
    """SHA-256 of some files, as ``train_sha256``, ``test_sha256`` and so on.

    Args:
        files: by part.
    """
    return {f"{part}_sha256": file.sha256 for part, file in files.items()}
