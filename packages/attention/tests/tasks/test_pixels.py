"""The task of images as a recipe and as code see it: parts, attention, use of what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from graftwork import GraftworkError, Task
from graftwork_attention import S3Attention, SoftmaxAttention
from graftwork_attention.data.parts import Selection
from graftwork_attention.models.pixel_encoder import PixelEncoder
from graftwork_attention.tasks.pixels import PixelClassification
from graftwork_trainer.evaluation import evaluate, evaluation_mode


def encoder(image_shape: tuple[int, int, int], classes: int) -> PixelEncoder:
    return PixelEncoder(image_shape, classes, dim=8, layers=1, tokens="linear")


def task(**options: Any) -> PixelClassification:
    return PixelClassification(**{"model": encoder, **options})


def pictures(folder: Path, **greys: int) -> Path:
    """Six pictures of each class, of about one grey."""
    for name, grey in greys.items():
        (folder / name).mkdir(parents=True)
        for number in range(6):
            Image.new("L", (4, 4), grey + number).save(folder / name / f"{number}.png")
    return folder


def batch_of(one: PixelClassification, split: str) -> dict[str, torch.Tensor]:
    return next(iter(one.batches(split, rank=0, world_size=1, seed=0)))


def test_a_task_of_pixels_keeps_the_contract() -> None:
    assert isinstance(task(), Task)


@pytest.mark.parametrize("size", [None, 12])
def test_models_get_images_of_the_size_that_is_asked_for_in_every_part(size: int | None) -> None:
    one = task(image_size=size)
    side = size or 8
    for split in ("train", "validation", "test"):
        batch = batch_of(one, split)
        assert batch["features"].shape[1:] == (1, side, side)
        assert 0 <= batch["features"].min() < batch["features"].max() <= 1
        assert one.build_model()(batch["features"]).shape == (len(batch["labels"]), 10)


def test_batches_passed_over_are_those_that_would_have_come() -> None:
    first, second = (iter(task().batches("train", rank=0, world_size=1, seed=3)) for _ in range(2))
    drawn = [next(first)["features"] for _ in range(3)]
    second.skip(2)  # type: ignore[attr-defined]
    assert torch.equal(next(second)["features"], drawn[2])


def test_the_attention_stands_in_the_place_of_the_models_own() -> None:
    own, other = task().build_model(), task(attention=S3Attention).build_model()
    assert isinstance(own.classifier.blocks[0].mixer, SoftmaxAttention)
    assert isinstance(other.classifier.blocks[0].mixer, S3Attention)
    assert task(attention=S3Attention).facts()["attention"] == "S3Attention"
    without = task(model=lambda image_shape, classes: nn.Flatten(), attention=S3Attention)
    with pytest.raises(GraftworkError, match=r"the attention of Flatten of torch cannot be replaced"):
        without.build_model()


def test_measures_of_a_model_that_always_says_one_class() -> None:
    class Constant(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot(torch.full((len(images),), 3), 10).float()

    one = task()
    share = float((one.parts.test.labels == 3).mean())
    found = evaluate(one, Constant(), "test")
    assert found["accuracy"] == pytest.approx(share)
    assert found["macro_f1"] == pytest.approx(2 * share / (1 + share) / 10)


def test_pictures_are_predicted_by_name_at_any_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one = task(data="folder", folder=pictures(tmp_path / "own", black=0, white=240))
    model = one.build_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _, batch in zip(range(30), one.batches("train", rank=0, world_size=1, seed=0), strict=False):
        optimizer.zero_grad()
        one.loss(model, batch)[0].backward()
        optimizer.step()
    one.save_assets(tmp_path)
    later = task(data="folder", folder=tmp_path / "own")
    later.load_assets(tmp_path)
    Image.new("RGB", (9, 7), (250, 250, 250)).save(tmp_path / "bright.jpg")
    with evaluation_mode(model):
        (found,) = later.predict(model, [tmp_path / "bright.jpg"])
    assert found["predicted"] == "white"
    assert found["probability_white"] + found["probability_black"] == pytest.approx(1)


def test_other_pictures_are_all_of_the_test_part_their_classes_as_learnt(tmp_path: Path) -> None:
    learnt = task(data="folder", folder=pictures(tmp_path / "own", black=0, grey=100, white=240))
    learnt.save_assets(tmp_path)
    options = PixelClassification.other_data(str(pictures(tmp_path / "others", white=230, black=9)))
    parts = {name: options.pop(name) for name in options.keys() & Selection.__dataclass_fields__.keys()}
    other = task(**options, selection=Selection(**parts))
    other.load_assets(tmp_path)
    batch = batch_of(other, "test")
    assert sorted(batch["labels"].tolist()) == [0] * 6 + [2] * 6
    assert batch["features"][batch["labels"] == 2].min() > 0.9
    stranger = task(
        data="folder", folder=pictures(tmp_path / "third", red=9), selection=Selection(test_only=True)
    )
    stranger.load_assets(tmp_path)
    with pytest.raises(GraftworkError, match=r"has images of class 'red', and the model has learnt black, "):
        stranger.build_model()


@pytest.mark.parametrize("name", ["digits", "mnist-5k"])
def test_other_data_may_be_a_name(name: str) -> None:
    options = PixelClassification.other_data(name)
    assert (options["data"], options["folder"], options["test_only"]) == (name, None, True)


def test_facts_tell_data_apart() -> None:
    told = [task(selection=Selection(data_seed=seed)).facts() for seed in (0, 0, 1)]
    assert told[0] == told[1] != told[2]
    assert told[0]["classes"] == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"


def test_mistakes_are_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image_size must be at least 1, got 0"):
        task(image_size=0)
    alone = task(data="folder", folder=pictures(tmp_path / "alone", cat=1))
    with pytest.raises(GraftworkError, match="has images of one class alone, 'cat'; at least 2 are needed"):
        alone.build_model()
    twins = tmp_path / "twins"
    for name in ("cat", "dog"):
        (twins / name).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (2, 2), 7).save(twins / name / f"{number}.png")
    with pytest.raises(GraftworkError, match="none of 8 images is left to learn from"):
        batch_of(task(data="folder", folder=twins), "train")
    (tmp_path / "images.json").write_text('{"classes": ["a"], "image_shape": [1, 8]}', "utf-8")
    with pytest.raises(GraftworkError, match=r"images.json: expected classes, a list of names, and"):
        task().load_assets(tmp_path)
