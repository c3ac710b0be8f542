"""Every bad data file with every task that reads its kind: one sentence that names it, or it is read.

A quarter of them on every change, all in the nox session ``faults``.
"""

from __future__ import annotations

import itertools
import pickle
import random
import resource
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.cli import main
from graftwork.toml import dumps
from graftwork_decentral.tasks.image_classification import ImageClassification
from graftwork_text.sources import smallest
from graftwork_text.tasks.language_model.lm_pretrain import LanguageModelPretraining

from .bad_data import (
    CIFAR,
    IDX_IMAGES,
    IDX_LABELS,
    LINES,
    MODEL_FILES,
    PICTURES,
    QUESTIONS,
    TABLES,
    TEXTS,
    Written,
    a_pipe,
    idx,
    png,
    put,
    separated,
)
from .test_damage import DAMAGES

Task = Mapping[str, Any]
Reads = Callable[[Path, Written, Task], tuple[Task, Path]]
"""Put a file into a folder; return the options of the task that reads it, and what a refusal names."""

LOOP = {"name": "standard", "steps": 1, "warmup_steps": 0, "evaluate_every": 0, "checkpoint_every": 0}
MOST_MEMORY = 300 << 10  # KiB; a bomb unpacks to more
GOOD = "Here stands a house, and it is red.\n\n"


def as_option(option: str, name: str) -> Reads:
    """The file itself is the option."""

    def reads(folder: Path, written: Written, task: Task) -> tuple[Task, Path]:
        path = put(folder / name, written)
        return {**task, option: str(path)}, path

    return reads


def among_texts(folder: Path, written: Written, task: Task) -> tuple[Task, Path]:
    for number in range(4):
        put(folder / "in" / f"good-{number}.txt", f"{number}. {GOOD}".encode())
    return {**task, "data": str(folder / "in")}, put(folder / "in" / "bad.txt", written)


def of_model(option: str, name: str) -> Reads:
    def reads(folder: Path, written: Written, task: Task) -> tuple[Task, Path]:
        shutil.copytree(task["weights"], folder / "model")
        put(folder / "model" / name, written)
        return {**task, option: str(folder / "model")}, folder / "model"

    return reads


def as_idx(name: str) -> Reads:
    def reads(folder: Path, written: Written, task: Task) -> tuple[Task, Path]:
        for part in ("train", "t10k"):
            put(folder / f"{part}-images-idx3-ubyte", idx(4, 8, 8, values=bytes(range(256))))
            put(folder / f"{part}-labels-idx1-ubyte", idx(4, values=bytes([0, 1, 0, 1])))
        (folder / name).unlink()
        # What begins as zipped files do is one by its name; what only says so in ours is called so too.
        zipped = isinstance(written, bytes) and written.startswith(b"\x1f\x8b")
        put(folder / (f"{name}.gz" if zipped else name), written)
        return {**task, "data": "idx", "folder": str(folder)}, folder

    return reads


def as_cifar(folder: Path, written: Written, task: Task) -> tuple[Task, Path]:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    for number in range(1, 6):
        put(folder / f"data_batch_{number}", pickle.dumps({b"data": pixels, b"labels": [0, 1]}))
    put(folder / "test_batch", written)
    return {**task, "data": "cifar10", "folder": str(folder)}, folder


def as_picture(folder: Path, written: Written, task: Task) -> tuple[Task, Path]:
    for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
        for number in range(2):
            rows = b"".join(bytes([0, *[60 * number + 9 * row] * 4]) for row in range(4))
            put(folder / place / f"{number}.png", png(4, 4, rows))
    put(folder / "train" / "cat" / "0.png", written)
    return {**task, "data": "folder", "folder": str(folder)}, folder


WEIGHTS = MODEL_FILES["model.safetensors"]
COMMAS, TABS = dict(separated(TABLES, b",")), dict(separated(TABLES, b"\t"))
KINDS: Mapping[str, tuple[str, Reads, Mapping[str, Written]]] = {
    "a text": ("lm-pretrain", as_option("data", "bad.txt"), TEXTS),
    "a text to test on": ("lm-pretrain", as_option("test_data", "bad.md"), TEXTS),
    "a text among others": ("lm-pretrain", among_texts, TEXTS),
    "lines of texts": ("lm-pretrain", as_option("data", "bad.jsonl"), LINES),
    "a tokenizer": ("lm-pretrain", as_option("tokenizer", "tokenizer.json"), MODEL_FILES["tokenizer.json"]),
    "a .csv table": ("sequence-classification", as_option("data", "bad.csv"), COMMAS),
    "a .tsv table": ("sequence-classification", as_option("validation_data", "bad.tsv"), TABS),
    "a .jsonl table": ("prompt-classification", as_option("data", "bad.jsonl"), LINES),
    "questions": ("prompt-answering", as_option("data", "bad.jsonl"), QUESTIONS),
    **{
        f"a model's {name}": ("sequence-classification", of_model("model", name), files)
        for name, files in MODEL_FILES.items()
    },
    **{
        f"a tokenizer's {name}": ("lm-pretrain", of_model("tokenizer", name), files)
        for name, files in MODEL_FILES.items()
        if name.startswith("tokenizer")
    },
    "weights to start from": ("lm-pretrain", as_option("start_from", "a.safetensors"), WEIGHTS),
    "training images": ("image-classification", as_idx("train-images-idx3-ubyte"), IDX_IMAGES),
    "test images": ("image-classification", as_idx("t10k-images-idx3-ubyte"), IDX_IMAGES),
    "labels": ("image-classification", as_idx("train-labels-idx1-ubyte"), IDX_LABELS),
    "a batch": ("image-classification", as_cifar, CIFAR),
    "a picture": ("image-classification", as_picture, PICTURES),
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Task]]:
    """The smallest of each task, with good data."""
    folder = tmp_path_factory.mktemp("good")
    fine_tuning = smallest.fine_tuning(folder, smallest.labelled(folder))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GRAFTWORK_CACHE", str(folder / "digests"))
        yield {
            "lm-pretrain": {**LanguageModelPretraining.smallest(folder), "weights": fine_tuning["model"]},
            "sequence-classification": {**fine_tuning, "weights": fine_tuning["model"]},
            "prompt-classification": fine_tuning,
            "prompt-answering": fine_tuning,
            "image-classification": {**ImageClassification.smallest(folder), "batch_size": 2},
        }


@pytest.mark.parametrize("share", [4, pytest.param(1, marks=pytest.mark.faults)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_is_one_sentence_that_names_it_or_is_read(
    kind: str,
    share: int,
    tasks: Mapping[str, Task],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, reads, files = KINDS[kind]
    chosen = [told for told in files if zlib.crc32(f"{kind} {told}".encode()) % share == 0]
    for number, told in enumerate(chosen):
        written = files[told]
        folder = tmp_path / str(number)
        task, named = reads(folder, written, tasks[name])
        options = {key: value for key, value in task.items() if key not in ("weights", "start_from")}
        loop = {key: value for key, value in task.items() if key == "start_from"} | LOOP
        sections = {
            "task": {"name": name, **options},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "trainer": loop,
        }
        recipe = put(folder / "recipe.toml", dumps(sections).encode())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        code = main(["train", str(recipe), "--out", str(folder / "run"), "--quiet", "--no-report"])
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        printed = capsys.readouterr().err
        case = f"{kind}, {told}: {printed}"
        assert code in (0, 2), case
        assert "Traceback" not in printed, case
        assert "GRAFTWORK_DEBUG" not in printed, f"not a sentence of whoever reads the file: {case}"
        if code == 2:
            assert len([line for line in printed.splitlines() if line.startswith("graftwork: error")]) == 1, (
                case
            )
            assert str(named) in printed or str(named.parent) in printed, case
        # The first of a kind may import what the task needs.
        assert not number or used < MOST_MEMORY, f"{used} KiB for {case}"


@pytest.fixture(scope="module")
def trained(tasks: Mapping[str, Task], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model's run, whose model has a tokenizer beside it."""
    folder = tmp_path_factory.mktemp("trained")
    task = {"name": "lm-pretrain", **tasks["lm-pretrain"]}
    del task["weights"]
    sections = {"task": task, "optimizer": {"name": "sgd", "lr": 0.1}, "trainer": LOOP}
    recipe = put(folder / "recipe.toml", dumps(sections).encode())
    assert main(["train", str(recipe), "--out", str(folder / "run"), "--quiet", "--no-report"]) == 0
    return folder


@pytest.mark.parametrize("share", [4, pytest.param(1, marks=pytest.mark.faults)])
def test_a_damaged_model_is_one_sentence_that_names_it_or_is_used(
    share: int, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(0)
    text = str(put(tmp_path / "text.txt", GOOD.encode()))
    recipe, quiet = str(trained / "recipe.toml"), ("--quiet", "--no-report")
    files = [path.relative_to(trained) for path in sorted((trained / "run" / "model").iterdir())]
    assert len(files) >= 7
    for number, (file, damage) in enumerate(itertools.product(files, [*DAMAGES, a_pipe_in_its_place])):
        if number % share:
            continue
        folder = tmp_path / str(number)
        shutil.copytree(trained / "run", folder / "run")
        run = str(folder / "run")
        damage(folder / file, draw)
        for arguments in (
            ("predict", run, text, "--out", str(folder / "written.csv"), "--quiet"),
            ("evaluate", run, "--data", text),
            ("export", run, str(folder / "exported")),
            ("train", recipe, "--out", str(folder / "next"), *quiet, "--set", f"trainer.start_from={run}"),
            ("verify", run),
        )[number % 3 :: 3]:
            code = main(arguments)
            printed = capsys.readouterr().err
            case = f"{damage.__name__} of {file}, {' '.join(arguments)}: {printed}"
            assert code in (0, 1, 2), case
            assert "Traceback" not in printed, case
            assert "GRAFTWORK_DEBUG" not in printed, f"not a sentence of whoever reads the file: {case}"
            if code == 2:
                errors = [line for line in printed.splitlines() if line.startswith("graftwork: error")]
                assert len(errors) == 1, case
                assert run in errors[0] or file.name in errors[0], case
        assert not list(folder.rglob("owned")), case
        shutil.rmtree(folder)


def a_pipe_in_its_place(path: Path, draw: random.Random) -> None:
    path.unlink()
    a_pipe(path)


def test_there_are_many() -> None:
    assert sum(len(files) for _, _, files in KINDS.values()) >= 300
    assert len({id(written) for _, _, files in KINDS.values() for written in files.values()}) >= 150
