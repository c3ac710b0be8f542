"""What a machine has for training, told without importing torch: versions, CUDA, numba, cache, free disk."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

from graftwork.realdata import cache_directory

_GIBIBYTE = 2**30
# Below it the checkpoints of one training of a small model may find no room.
_LITTLE_BYTES = _GIBIBYTE
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def machine_lines(*, ask_torch: bool) -> Iterator[str]:
    """A line for each of what training depends on.

    Args:
        ask_torch: whether torch may be imported, which alone knows what it finds at run time.
    """
    yield f"  torch   {_version('torch') or 'not installed: there is nothing to train with'}"
    yield f"  CUDA    {_cuda()}" + (f"; {_cuda_of_torch()}" if ask_torch and _version("torch") else "")
    yield f"  numba   {_version('numba') or 'not installed: kernels on a CPU are those of torch'}"
    cache = _cache()
    if cache is None:
        yield "  cache   nowhere: this user has no home; GRAFTWORK_CACHE names a folder"
    else:
        bytes_ = sum(_sizes(cache))
        yield f"  cache   {cache}, {_amount(bytes_)}{'' if _writable(cache) else ', cannot be written'}"
    for place in dict.fromkeys(_mount(path) for path in (Path.cwd(), cache) if path is not None):
        usage = shutil.disk_usage(place)
        yield f"  disk    {_amount(usage.free)} free of {_amount(usage.total)} at {place}"


def machine_notes() -> Iterator[str]:
    """What of a machine will stop a training sooner or later."""
    cache = _cache()
    if cache is not None and not _writable(cache):
        yield f"the cache {cache} cannot be written; GRAFTWORK_CACHE names another folder"
    for place in dict.fromkeys(_mount(path) for path in (Path.cwd(), cache) if path is not None):
        free = shutil.disk_usage(place).free
        if free < _LITTLE_BYTES:
            yield f"{_amount(free)} of disk are free at {place}; a checkpoint may find no room there"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cuda() -> str:
    """What NVIDIA's driver says."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return "no NVIDIA driver: training is on the CPU"
    version, count = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDriverGetVersion(ctypes.byref(version)):
        return "the NVIDIA driver finds no device: training is on the CPU"
    driver.cuDeviceGetCount(ctypes.byref(count))
    names = []
    for number in range(count.value):
        name = ctypes.create_string_buffer(256)
        driver.cuDeviceGetName(name, 256, number)
        names.append(name.value.decode(errors="replace"))
    newest = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return f"driver for CUDA {newest}, {', '.join(names) or 'no device'}"


def _cuda_of_torch() -> str:
    torch = import_module("torch")  # which core does not depend on
    built = torch.version.cuda
    if built is None:
        return "torch is built without CUDA"
    return f"torch is built for CUDA {built} and finds {torch.cuda.device_count()} device(s)"


def _cache() -> Path | None:
    try:
        return cache_directory()
    except RuntimeError:  # nobody's home
        return None


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield Path(parent, name).lstat().st_size
            except OSError:  # it has gone since
                continue


def _there(path: Path) -> Path:
    """A folder, or the one that it would be made in."""
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _writable(folder: Path) -> bool:
    there = _there(folder)
    return there.is_dir() and os.access(there, os.W_OK)


def _mount(path: Path) -> Path:
    """The folder by which a file system is in the tree."""
    there = _there(path.absolute())
    while not there.is_mount():
        there = there.parent
    return there


def _amount(size: int) -> str:
    """A number of bytes, for people.

    >>> _amount(0), _amount(1536), _amount(3 * 2**30)
    ('0 B', '1.5 KiB', '3.0 GiB')
    """
    if size < 1024:
        return f"{size} B"
    unit = min((size.bit_length() - 1) // 10, 4)
    return f"{size / 1024**unit:.1f} {'KMGT'[unit - 1]}iB"
