"""Images and labels from files."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from graftwork import GraftworkError
from graftwork_trainer.images.image_files import read_images


def write_idx(path: Path, values: np.ndarray, *, zipped: bool = False) -> None:
    head = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}i", *values.shape)
    data = head + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if zipped else data)


def fashion_mnist(folder: Path, train: int = 40, test: int = 10) -> np.ndarray:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (train, 28, 28))
    write_idx(folder / "train-images-idx3-ubyte.gz", pixels, zipped=True)
    write_idx(folder / "train-labels-idx1-ubyte", np.arange(train) % 10)
    write_idx(folder / "t10k-images-idx3-ubyte", generator.integers(0, 256, (test, 28, 28)))
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.arange(test) % 10, zipped=True)
    return pixels


def test_idx_files_zipped_or_not(tmp_path: Path) -> None:
    pixels = fashion_mnist(tmp_path)
    train, test = read_images("fashion-mnist", tmp_path)
    np.testing.assert_allclose(train.features[:, 0], pixels / 255, rtol=1e-6)
    assert train.labels.tolist() == [number % 10 for number in range(40)]
    assert (test.features.shape, test.classes) == ((10, 1, 28, 28), 10)


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    fashion_mnist(tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(GraftworkError, match=r"t10k-images.*promises"):
        read_images("fashion-mnist", tmp_path)
    path.write_bytes(b"\0\0\x08\x03\0\0")
    with pytest.raises(GraftworkError, match=r"t10k-images.*promises"):
        read_images("fashion-mnist", tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-9])
    path.write_bytes(struct.pack(">BBBBiii", 0, 0, 8, 3, 0, 28, 28))
    with pytest.raises(GraftworkError, match=r"t10k-labels.*cannot be unpacked"):
        read_images("fashion-mnist", tmp_path)
    labels.write_bytes(whole)
    path.write_bytes(b"<html>")
    with pytest.raises(GraftworkError, match="not an IDX file"):
        read_images("fashion-mnist", tmp_path)
    path.unlink()
    with pytest.raises(GraftworkError, match="t10k-images-idx3-ubyte is missing"):
        read_images("fashion-mnist", tmp_path)


def test_cifar_batches(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator = np.random.default_rng(0)
    written = {}
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        data = generator.integers(0, 256, (4, 3072), dtype=np.uint8)
        written[name] = data
        (folder / name).write_bytes(pickle.dumps({b"data": data, b"labels": [0, 1, 2, 9]}))
    train, test = read_images("cifar10", tmp_path)
    assert train.features.shape == (20, 3, 32, 32)
    np.testing.assert_allclose(test.features.reshape(4, -1), written["test_batch"] / 255, rtol=1e-6)
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": Path("/")}))
    with pytest.raises(GraftworkError, match="arrays only"):
        read_images("cifar10", tmp_path)


def test_a_folder_a_class(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for part, count in (("train", 3), ("test", 1)):
        for label, grey in (("cat", 0), ("dog", 255)):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(count):
                image.new("RGB", (6, 5), (grey, grey, grey)).save(tmp_path / part / label / f"{number}.png")
    train, test = read_images("folder", tmp_path)
    assert (train.features.shape, train.labels.tolist()) == ((6, 3, 5, 6), [0, 0, 0, 1, 1, 1])
    assert test.features[1].min() == 1
    image.new("RGB", (9, 9)).save(tmp_path / "train" / "cat" / "odd.png")
    with pytest.raises(GraftworkError, match="one size"):
        read_images("folder", tmp_path)


def test_classes_of_the_test_part_are_those_of_the_training_part(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for place in ("train/ant", "train/bee", "train/cow", "test/bee", "test/cow"):
        (tmp_path / place).mkdir(parents=True)
        image.new("RGB", (2, 2)).save(tmp_path / place / "0.png")
    train, test = read_images("folder", tmp_path)
    assert (train.labels.tolist(), test.labels.tolist(), test.classes) == ([0, 1, 2], [1, 2], 3)
    (tmp_path / "test" / "dog").mkdir()
    image.new("RGB", (2, 2)).save(tmp_path / "test" / "dog" / "0.png")
    with pytest.raises(GraftworkError, match="test/dog: no picture of class 'dog' is in"):
        read_images("folder", tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("t10k-images-idx3-ubyte", np.zeros((10, 9, 28)), "are 1 x 28 x 28 and those to test on 1 x 9 x 28"),
        ("t10k-images-idx3-ubyte", np.zeros((9, 28, 28)), r"is \[9, 28, 28\] and .*\[10\]"),
        ("t10k-images-idx3-ubyte", np.zeros((10, 0, 28)), "holds no pixels"),
        ("train-labels-idx1-ubyte", np.arange(40) % 9, "test images of class 9, and no training image"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(
    name: str, values: np.ndarray, message: str, tmp_path: Path
) -> None:
    fashion_mnist(tmp_path)
    write_idx(tmp_path / name, values)
    with pytest.raises(GraftworkError, match=message):
        read_images("idx", tmp_path)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(GraftworkError, match="folder: data = 'cifar10'"):
        read_images("cifar10", None)
    with pytest.raises(GraftworkError, match="no such folder"):
        read_images("idx", Path("/nonexistent"))
