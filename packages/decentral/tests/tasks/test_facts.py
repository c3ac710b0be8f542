"""Facts of every task: by them a resumed run tells other data from its own."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork import GraftworkError
from graftwork_decentral.models import mlp
from graftwork_decentral.tasks.hyper_cleaning import HyperCleaningTask
from graftwork_decentral.tasks.image_classification import ImageClassification
from graftwork_decentral.tasks.meta_learning import MetaLearningTask
from graftwork_decentral.tasks.policy_evaluation import PolicyEvaluationTask

Write = Callable[[Path, np.ndarray, np.ndarray], None]


def idx(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    for part in ("train", "t10k"):
        for name, values in (("images-idx3", pixels[..., 0]), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape)
            (folder / f"{part}-{name}-ubyte").write_bytes(head + values.tobytes())


def cifar(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    rows = np.resize(pixels, (len(labels), 3072))
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps({b"data": rows, b"labels": labels.tolist()}, 2))


def pictures(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    image = pytest.importorskip("PIL.Image")
    shutil.rmtree(folder)
    for number, (values, label) in enumerate(zip(pixels, labels, strict=True)):
        for part in ("train", "test"):
            (folder / part / str(label)).mkdir(parents=True, exist_ok=True)
            image.fromarray(values).save(folder / part / str(label) / f"{number}.png")


def archives(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    for name in ("train", "test"):
        np.savez(folder / f"{name}.npz", features=pixels, labels=labels)


TASKS: dict[str, tuple[Write, Callable[[Path], Any]]] = {
    "idx": (idx, lambda folder: ImageClassification(model=mlp, data="idx", folder=folder)),
    "cifar10": (cifar, lambda folder: ImageClassification(model=mlp, data="cifar10", folder=folder)),
    "folder": (pictures, lambda folder: ImageClassification(model=mlp, data="folder", folder=folder)),
    "hyper-cleaning": (
        idx,
        lambda folder: HyperCleaningTask(
            data="fashion-mnist", folder=folder, train_samples=6, clean_samples=6
        ),
    ),
    "meta-learning": (
        archives,
        lambda folder: MetaLearningTask(data="features", folder=folder, shots=2, queries=2),
    ),
}


def digests(facts: dict[str, Any]) -> dict[str, str]:
    found = {name: value for name, value in facts.items() if name.endswith("_sha256")}
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in found.values())
    return found


@pytest.mark.parametrize("name", TASKS)
def test_facts_tell_one_changed_number_and_one_changed_label(tmp_path: Path, name: str) -> None:
    write, make = TASKS[name]
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(12, dtype=np.uint8) % 3

    def facts(pixels: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        write(tmp_path, pixels, labels)
        found: dict[str, Any] = make(tmp_path).facts()
        assert json.loads(json.dumps(found)) == found
        return found

    before = facts(pixels, labels)
    assert facts(pixels, labels) == before
    other = pixels.copy()
    # All of them may be held out or left for another set.
    other[:, 0, 0, 0] ^= 1
    changed = digests(facts(other, labels))
    assert all(changed[key] != value for key, value in digests(before).items())
    assert digests(facts(pixels, np.roll(labels, 1))).keys() == digests(before).keys()
    assert digests(facts(pixels, np.roll(labels, 1))) != digests(before)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: ImageClassification(model=mlp, seed=seed),
        lambda seed: HyperCleaningTask(seed=seed),
        lambda seed: PolicyEvaluationTask(seed=seed),
    ],
)
def test_another_seed_draws_other_data(make: Callable[[int], Any]) -> None:
    first, second = digests(make(0).facts()), digests(make(1).facts())
    assert first
    assert all(first[key] != second[key] for key in first)


def test_digests_of_the_digits_are_the_same_on_every_machine() -> None:
    facts = ImageClassification(model=mlp).facts()
    assert str(facts["train_sha256"]).startswith("85c006d5622cff90")
    assert str(PolicyEvaluationTask().facts()["chain_sha256"]).startswith("032792fb5ed7ba93")


@pytest.mark.parametrize(
    "content", [b"", b"<html>", pickle.dumps([1]), b"PK\x03\x04", "objects", "single", "lengths"]
)
def test_what_is_no_archive_of_numbers_is_one_sentence(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "train.npz"
    if content == "objects":
        np.savez(path, features=np.array([object, 1], dtype=object), labels=np.zeros(2))
    elif content == "single":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif content == "lengths":
        np.savez(path, features=np.zeros((3, 2)), labels=np.zeros(2))
    else:
        path.write_bytes(content)
    with pytest.raises(GraftworkError, match=r"train\.npz: is no \.npz file of numbers \(.*\)$"):
        MetaLearningTask(data="features", folder=tmp_path).facts()
