"""Every example in the README and in the docstrings runs as it stands."""

from __future__ import annotations

import doctest
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import graftwork_attention

README = Path(__file__).parents[1] / "README.md"
# Kernels of Triton can be imported where it is installed.
MODULES = [
    "graftwork_attention.contract",
    *(
        info.name
        for info in pkgutil.walk_packages(graftwork_attention.__path__, "graftwork_attention.")
        if not info.ispkg and not info.name.endswith("_triton")
    ),
]
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("module", MODULES)
def test_docstrings(module: str) -> None:
    assert doctest.testmod(import_module(module)).failed == 0


@pytest.mark.parametrize("block", BLOCKS)
def test_readme(block: str) -> None:
    exec(compile(block, str(README), "exec"), {"__name__": "__main__"})


def test_what_people_meet_first_has_an_example() -> None:
    assert BLOCKS
    for name in ("S3Attention", "SoftmaxAttention", "MultiheadAttentionAdapter"):
        assert ">>> " in (getattr(graftwork_attention, name).__doc__ or "")
