"""Why the system refused something, in words that say what to do about it."""

from __future__ import annotations

import errno

_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "it was removed",
}


def cause_of(error: OSError) -> str:
    """Return the cause of an error of the system, with the file that it is about.

    >>> cause_of(OSError(errno.ENOSPC, "No space left on device", "run/metrics.jsonl"))
    'run/metrics.jsonl: the disk is full'
    >>> cause_of(OSError(errno.EIO, "Input/output error"))
    'Input/output error'
    """
    words = _WORDS.get(error.errno or 0, error.strerror or str(error))
    return f"{error.filename}: {words}" if error.filename else words
