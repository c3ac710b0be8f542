"""A long line costs a few times its size, whatever stands in it."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from graftwork_trainer.records import records

SIZE = 200_000
TEXTS = {
    "ascii": "word and, more of it. " * (SIZE // 22),
    # One of these makes every character of a text take four bytes.
    "emoji": "word and, more of it. " * (SIZE // 22) + "😀",
    "marks": '"' * (SIZE // 2),
    "lines": "\n" * SIZE,
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_long_field_costs_ten_times_its_size_at_most(tmp_path: Path, kind: str, suffix: str) -> None:
    path, text = tmp_path / f"long{suffix}", TEXTS[kind]
    if suffix == ".jsonl":
        content = json.dumps({"text": text, "label": 1}, ensure_ascii=False)
    elif suffix == ".csv":
        content = 'text,label\n"{}",1\n'.format(text.replace('"', '""'))
    else:
        text = text.replace("\n", " ")
        content = f"text\tlabel\n{text}\t1\n"
    path.write_text(content, "utf-8", newline="")
    del content
    tracemalloc.start()
    try:
        ((_, row),) = records(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert row["text"] == text
    assert peak < 10 * path.stat().st_size
