"""Freed memory stays with the process: on Linux that saves thousands of page faults a step."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell glibc not to give memory back to the kernel while the process lives.

    By default it maps every large tensor anew and trims the heap whenever its end is free, so that a training
    on a CPU faults the same pages in at each step. Does nothing where another allocator is used, or where the
    user has set glibc's own variables.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, 2**30)
    mallopt(_TRIM_THRESHOLD, _LARGEST)
    mallopt(_TOP_PAD, 2**28)
