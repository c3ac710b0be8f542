"""Which allocator is told to keep freed memory, and which is left as the user set it."""

from __future__ import annotations

import ctypes
import os
from types import SimpleNamespace

import pytest

from graftwork_trainer.heap import keep_freed_memory

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h


@pytest.fixture
def told(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    told = {}
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=told.__setitem__))
    return told


def test_glibc_is_told_to_map_and_to_trim_nothing_below_a_gigabyte(told):
    keep_freed_memory()
    assert told.keys() == {TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD}
    assert all(2**28 <= size < 2**31 for size in told.values())


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_user_set_stays(told, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    keep_freed_memory()
    assert told == {}


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_another_allocator_is_left_alone(told, monkeypatch, error):
    def missing(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    keep_freed_memory()
    assert told == {}
