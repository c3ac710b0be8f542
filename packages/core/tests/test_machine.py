"""What doctor says of a machine, without torch."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from graftwork import machine
from graftwork.machine import machine_lines, machine_notes


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GRAFTWORK_CACHE", str(folder))
    return folder


def told() -> dict[str, str]:
    lines = [line.split(maxsplit=1) for line in machine_lines(ask_torch=False)]
    return dict(lines)


def test_versions_cache_and_disk_are_told_without_importing_torch(cache):
    before = "torch" in sys.modules
    (cache / "a").mkdir(parents=True)
    (cache / "a" / "b").write_bytes(bytes(2048))
    lines = told()
    assert set(lines) == {"torch", "CUDA", "numba", "cache", "disk"}
    assert lines["cache"] == f"{cache}, 2.0 KiB"
    assert " free of " in lines["disk"]
    assert ("torch" in sys.modules) == before


def test_a_cache_that_is_not_there_yet_is_empty_and_one_that_cannot_be_is_noted(cache, monkeypatch):
    assert told()["cache"] == f"{cache}, 0 B"
    assert list(machine_notes()) == []
    cache.write_text("a file in its place")
    assert told()["cache"].endswith("cannot be written")
    assert [note for note in machine_notes() if str(cache) in note and "GRAFTWORK_CACHE" in note]


def test_what_is_not_installed_and_a_full_disk_are_told(cache, monkeypatch):
    monkeypatch.setattr(machine, "_version", lambda name: None)
    monkeypatch.setattr(machine, "_DRIVER", "libnothing.so.9")
    monkeypatch.setattr(
        machine.shutil, "disk_usage", lambda place: machine.shutil._ntuple_diskusage(9, 9, 2**20)
    )
    lines = told()
    assert lines["torch"].startswith("not installed")
    assert lines["numba"].startswith("not installed")
    assert lines["CUDA"] == "no NVIDIA driver: training is on the CPU"
    assert any("1.0 MiB of disk are free" in note for note in machine_notes())


def test_nobodys_home_has_no_cache(monkeypatch):
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(machine, "cache_directory", nobody)
    assert told()["cache"].startswith("nowhere")


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        ({"cuInit": 100}, "the NVIDIA driver finds no device: training is on the CPU"),
        ({}, "driver for CUDA 12.4, H1"),
    ],
)
def test_what_the_driver_says(monkeypatch, results, sentence):
    driver = SimpleNamespace(
        cuInit=lambda flags: results.get("cuInit", 0),
        cuDriverGetVersion=lambda version: setattr(version._obj, "value", 12040),
        cuDeviceGetCount=lambda count: setattr(count._obj, "value", 1),
        cuDeviceGetName=lambda name, size, number: setattr(name, "value", b"H1"),
    )
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: driver)
    assert machine._cuda() == sentence
