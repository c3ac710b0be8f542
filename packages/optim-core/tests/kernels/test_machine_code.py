"""A cache of machine code that cannot be used costs no step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba")

from graftwork_optim_core.kernels import machine_code


def add_one(number: int) -> int:
    return number + 1


def test_without_a_place_for_it_every_process_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_in_memory = machine_code.numba.njit

    def njit(*function: Any, **options: Any) -> Any:
        if "cache" in options:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_in_memory(*function, **options)

    monkeypatch.setattr(machine_code.numba, "njit", njit)
    assert machine_code.entry(add_one)(1) == 2


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine_code.numba.core.config, "CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_one_that_is_gone_and_cannot_be_made_again(cache: Path) -> None:
    entry = machine_code.entry(add_one)
    for folder in cache.iterdir():
        folder.rmdir()
    cache.rmdir()
    cache.touch()
    assert [entry(1), entry(2)] == [2, 3]


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_one_that_is_damaged(cache: Path, suffix: str) -> None:
    assert machine_code.entry(add_one)(1) == 2
    (file,) = cache.rglob(f"*.{suffix}")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert machine_code.entry(add_one)(1) == 2


def test_what_is_wrong_with_the_arguments_is_said(cache: Path) -> None:
    with pytest.raises(machine_code.numba.TypingError):
        machine_code.entry(add_one)("one")
