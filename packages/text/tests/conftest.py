"""Files of made-up questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def questions(tmp_path: Path) -> Callable[..., str]:
    """Write questions to a file and return its path."""

    def write(rows: list[Any], name: str = "questions.jsonl") -> str:
        path = tmp_path / name
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), "utf-8")
        return str(path)

    return write
