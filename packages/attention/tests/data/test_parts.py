"""No image in two parts, and parts that stay what they are."""

from __future__ import annotations

import numpy as np
import pytest

from graftwork_attention.data.parts import Selection, draw_parts
from graftwork_attention.data.sources import Source
from graftwork_trainer.images.labelled import Images
from graftwork_trainer.keeping_apart import HELD_OUT_COPIES


def images(values: list[int]) -> Images:
    """One image of one pixel of each value, of class 0 or 1."""
    pixels = np.array(values, dtype=np.float32).reshape(-1, 1, 1, 1) / 255
    return Images(pixels, np.array(values) % 2, 2)


def values(part: Images) -> list[int]:
    return np.rint(part.features.reshape(-1) * 255).astype(int).tolist()


def source(known: list[int], test: list[int] | None = None) -> Source:
    return Source(images(known), None if test is None else images(test), ("even", "odd"))


@pytest.mark.parametrize("test", [None, [3, 4, 200]])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_image_is_in_two_parts_however_often_the_data_has_it(test: list[int] | None, seed: int) -> None:
    parts = draw_parts(source([*range(60), *range(40)], test), Selection(data_seed=seed))
    train, validation, tested = (set(values(part)) for part in (parts.train, parts.validation, parts.test))
    assert train.isdisjoint(validation | tested)
    assert validation.isdisjoint(tested)
    assert parts.facts()[HELD_OUT_COPIES] == parts.copies > 0
    held = len(parts.train) + len(parts.validation) + parts.copies
    assert held + (0 if test else len(parts.test)) == 100


def test_the_test_part_is_the_same_whatever_the_data_seed_is_and_the_others_are_not() -> None:
    first, second = (draw_parts(source([*range(200)]), Selection(data_seed=seed)) for seed in (0, 1))
    assert values(first.test) == values(second.test)
    assert len(first.test) == 40
    assert values(first.validation) != values(second.validation)
    assert first.facts()["train_sha256"] != second.facts()["train_sha256"]
    assert draw_parts(source([*range(200)]), Selection()).facts() == first.facts()


def test_parts_have_so_many_images_and_fewer_to_learn_from_leave_the_others_alone() -> None:
    asked = {"validation_examples": 20, "test_examples": 30}
    few = draw_parts(source([*range(200)]), Selection(train_examples=5, **asked))
    many = draw_parts(source([*range(200)]), Selection(**asked))
    assert [len(few.train), len(few.validation), len(few.test), len(many.train)] == [5, 20, 30, 150]
    assert values(few.validation) == values(many.validation)
    assert values(many.train)[:5] == values(few.train)


def test_all_can_be_the_test_part() -> None:
    parts = draw_parts(source([1, 2, 3], [4, 5]), Selection(test_only=True))
    assert (len(parts.train), len(parts.validation), values(parts.test)) == (0, 0, [1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_examples": 0}, "train_examples must be at least 1, got 0"),
        ({"data_seed": -1}, "data_seed must be at least 0, got -1"),
    ],
)
def test_an_option_out_of_its_range_is_named(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Selection(**options)
