"""Images by name, and users' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graftwork import GraftworkError
from graftwork_attention.data.sources import read_source


def pictures(folder: Path, **greys: int) -> Path:
    """One picture of 3 x 2 pixels of each class, by its name."""
    for name, grey in greys.items():
        (folder / name).mkdir(parents=True)
        Image.new("L", (3, 2), grey).save(folder / name / "0.png")
    return folder


def test_digits_are_all_known_and_sorted_by_nobody() -> None:
    digits = read_source("digits", None)
    assert (len(digits.known), digits.test, digits.names) == (1797, None, tuple("0123456789"))


def test_pictures_of_classes_with_a_test_part_or_without(tmp_path: Path) -> None:
    alone = read_source("folder", pictures(tmp_path / "alone", cat=0, dog=255))
    assert alone.test is None
    assert (alone.names, alone.known.labels.tolist()) == (("cat", "dog"), [0, 1])
    assert alone.known.features.shape == (2, 1, 2, 3)  # grey
    pictures(tmp_path / "both" / "train", cat=0, dog=255)
    pictures(tmp_path / "both" / "test", dog=9)
    both = read_source("folder", tmp_path / "both")
    assert both.test is not None
    assert (both.names, both.test.labels.tolist(), len(both.all())) == (("cat", "dog"), [1], 3)


def test_one_coloured_picture_makes_all_coloured(tmp_path: Path) -> None:
    pictures(tmp_path, cat=0, dog=255)
    Image.new("RGB", (3, 2), (0, 0, 1)).save(tmp_path / "cat" / "1.png")
    assert read_source("folder", tmp_path).known.features.shape == (3, 3, 2, 3)


def test_classes_are_numbered_as_they_were_learnt(tmp_path: Path) -> None:
    source = read_source("folder", pictures(tmp_path, cat=0, dog=255))
    numbered = source.numbered_by(("dog", "bird", "cat"))
    assert (numbered.known.labels.tolist(), numbered.known.classes) == ([2, 0], 3)
    assert np.array_equal(numbered.known.features, source.known.features)
    assert source.numbered_by(("dog", "bird")) is source


def test_a_folder_goes_with_files_alone(tmp_path: Path) -> None:
    with pytest.raises(GraftworkError, match=r"folder must be left out with data = 'digits'"):
        read_source("digits", tmp_path)
    with pytest.raises(GraftworkError, match=r"folder: data = 'folder' is read from files; say where"):
        read_source("folder", None)
    with pytest.raises(GraftworkError, match=r"no picture .* is in any folder of a class"):
        read_source("folder", tmp_path)
