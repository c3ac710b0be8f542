"""Every example in the README and in the docstrings runs as it stands."""

from __future__ import annotations

import doctest
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import graftwork_optim_core

README = Path(__file__).parents[1] / "README.md"
MODULES = [
    info.name
    for info in pkgutil.walk_packages(graftwork_optim_core.__path__, "graftwork_optim_core.")
    if not info.ispkg
]
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("module", MODULES)
def test_docstrings(module: str) -> None:
    assert doctest.testmod(import_module(module)).failed == 0


def test_public_functions_and_classes_have_an_example() -> None:
    for name in ("GWTAdamW", "param_groups", "predicted_state_bytes"):
        assert ">>> " in (getattr(graftwork_optim_core, name).__doc__ or "")


def test_the_readme_has_examples() -> None:
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("block", BLOCKS)
def test_readme(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block, str(README), "exec"), names)
    # What an example trains with has been made, and says what it keeps.
    assert "optimizer" not in names or names["optimizer"].state_bytes().total > 0
