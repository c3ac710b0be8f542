"""How much memory tokenizing a corpus takes, beside the size of its file: peak of a process of its own, above
that of one that has imported the same and read nothing.

The bars: a corpus takes no more than half its size (it is read as a stream), and a single line of 20 MB no
more than ten times its size. Another number of megabytes of the corpus may be given; with few, what a process
takes for any corpus at all weighs more.

    python packages/text/benchmarks/corpus_memory.py [MEGABYTES]
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CORPUS_BAR, LINE_BAR = 0.5, 10.0
LINE_MEGABYTES = 20


def sentences() -> Iterator[str]:
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(5000)]
    while True:
        yield " ".join(draw.choices(words, k=12)).capitalize() + "."


def documents(megabytes: int) -> Iterator[str]:
    """Documents of five paragraphs of four sentences."""
    written, made = 0, sentences()
    while written < megabytes * 10**6:
        text = "\n\n".join(" ".join(next(made) for _ in range(4)) for _ in range(5))
        written += len(text)
        yield text


def one_line(megabytes: int) -> Iterator[str]:
    """One document of so many megabytes without a line end, and two short ones beside it."""
    yield " ".join(documents(megabytes)).replace("\n", " ")
    yield from ("A fox saw grapes.", "A crow had cheese.")


def peak_megabytes() -> float:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 10**6


def measure(file: Path) -> None:
    """Tokenize a file, in a process of its own, and print by how many megabytes the peak rose."""
    from graftwork_text.corpora import find_corpus
    from graftwork_text.tasks.language_model.token_cache import open_tokenized
    from graftwork_text.tasks.language_model.tokenization import train_tokenizer

    list(train_tokenizer(["to be or not to be"], 300).encode(["to be"]))
    before = peak_megabytes()
    open_tokenized(
        find_corpus(str(file)),
        tokenizer=None,
        vocabulary_size=2048,
        validation_fraction=0.05,
        cache=file.parent / "cache",
    )
    print(peak_megabytes() - before)


def measured(name: str, megabytes: int, texts: Callable[[int], Iterator[str]], bar: float) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.jsonl"
        with file.open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps({"text": text}) + "\n" for text in texts(megabytes))
        size, start = file.stat().st_size / 10**6, time.monotonic()
        command = [sys.executable, __file__, "--measure", str(file)]
        rise = float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        seconds = time.monotonic() - start
    verdict = "ok" if rise <= bar * size else "TOO MUCH"
    print(
        f"{name:12}{size:8.0f} MB of text {rise:8.0f} MB of memory {rise / size:8.2f} x (bar {bar:g}) "
        f"{seconds:6.0f} s   {verdict}"
    )
    return rise <= bar * size


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        return measure(Path(sys.argv[2]))
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    results = [
        measured("corpus", megabytes, documents, CORPUS_BAR),
        measured("one line", LINE_MEGABYTES, one_line, LINE_BAR),
    ]
    return sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
