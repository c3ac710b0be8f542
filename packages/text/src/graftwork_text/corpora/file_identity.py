"""What identifies a corpus of files: the digest of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from graftwork.errors import GraftworkError
from graftwork_trainer.file_digests import digests_of


def digests(paths: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of some files, as ``train_sha256``, ``test_sha256`` and so on.

    Args:
        paths: existing files by part.

    Raises:
        GraftworkError: one cannot be read.
    """
    try:
        return {f"{part}_sha256": digests_of([path], book=path)[0] for part, path in paths.items()}
    except OSError as error:
        raise GraftworkError(f"{error.filename}: cannot be read: {error.strerror}") from error
