"""Classification of images, by models whose attention a recipe chooses.

Batches hold ``features`` ``[batch, channels, height, width]`` in 0..1 and ``labels`` ``[batch]``. Models take
the features and return logits ``[batch, classes]``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from graftwork import Choice, Direction, GraftworkError, Supplies
from graftwork_attention.data.parts import Parts, Selection, draw_parts
from graftwork_attention.data.shaping import Shape, Shaped, shaped
from graftwork_attention.data.sources import PACKAGED, Data, Source, read_source, require_for
from graftwork_attention.extras import PICTURES
from graftwork_trainer.attention import convert_attention
from graftwork_trainer.class_measures import macro_f1
from graftwork_trainer.data.order import EndlessBatches
from graftwork_trainer.evaluation import device_of
from graftwork_trainer.images.classifying import ClassificationTask
from graftwork_trainer.images.labelled import ImageBatch, Images
from graftwork_trainer.images.pictures import read_pictures
from graftwork_trainer.plain_json import read_json

_LEARNT = "images.json"


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a model's weights are for.

    Args:
        names: of the classes, in the order of their numbers.
        shape: of the images.
    """

    names: tuple[str, ...]
    shape: Shape


class PixelClassification(ClassificationTask):
    """Name the class of an image; small real images come along.

    Args:
        model: what to train; it is built with image_shape and classes.
        attention: takes the place of every self-attention of the model; none for the model's own.
        data: digits (1,797 of 8 x 8 pixels, of scikit-learn), mnist-5k (5,000 of 28 x 28, fetched once), or
            files in folder: fashion-mnist or idx, cifar10 (its Python batches), folder (pictures of one size
            in CLASS, or in train/CLASS and test/CLASS; of one channel where all are grey).
        folder: where those files are.
        image_size: pixels a side that images are brought to, bilinearly; none for their own, or those that
            the weights in use were trained on.
        batch_size: images in a batch of one process.
        selection: which images of the data.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: files are missing, or what reads them is not installed.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")
    # Sequences of pixels are long.
    evaluated_at_once: ClassVar[int] = 64
    metric_directions: ClassVar[Mapping[str, Direction]] = {
        "accuracy": "higher",
        "macro_f1": "higher",
        "loss": "lower",
    }
    predict_inputs = "path"
    _learnt: Learnt | None = None

    def __init__(
        self,
        *,
        # A recipe gives Choices; code may give any functions of what is supplied.
        model: Annotated[Choice | Callable[..., nn.Module], Supplies("image_shape", "classes")],
        attention: Annotated[
            Choice | Callable[..., nn.Module] | None, Supplies("dim", "heads", "max_len", "layer_index")
        ] = None,
        data: Data = "digits",
        folder: Path | None = None,
        image_size: int | None = None,
        batch_size: int = 32,
        selection: Selection = Selection(),
    ) -> None:
        for option, value in {"image_size": image_size, "batch_size": batch_size}.items():
            if value is not None and value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        require_for(data)
        self._model, self._attention = model, attention
        self._data, self._folder, self._selection = data, folder, selection
        self._image_size, self._batch_size = image_size, batch_size

    @classmethod
    def smallest(cls, folder: Path) -> dict[str, Any]:
        """Return options with which it trains in seconds."""
        return {
            "model": {"name": "pixel-encoder", "dim": 16, "layers": 1},
            "train_examples": 64,
            "validation_examples": 32,
        }

    @classmethod
    def other_data(cls, data: str) -> dict[str, Any]:
        """Return options with which all of other data is the test part: a folder of pictures, or digits."""
        return {
            **({"data": data, "folder": None} if data in PACKAGED else {"data": "folder", "folder": data}),
            **dict.fromkeys(("train_examples", "validation_examples", "test_examples")),
            "test_only": True,
        }

    @cached_property
    def source(self) -> Source:
        """All images, their classes numbered as the weights in use have learnt them; read at first use.

        Raises:
            GraftworkError: nothing is learnt here, and there are classes that those weights do not know.
        """
        source = read_source(self._data, self._folder)
        if self._learnt is None:
            if len(source.names) < 2:
                raise GraftworkError(
                    f"{self._folder or self._data}: has images of one class alone, {source.names[0]!r}; at "
                    "least 2 are needed"
                )
            return source
        source = source.numbered_by(self._learnt.names)
        if self._selection.test_only and source.names != self._learnt.names:
            unknown = sorted(set(source.names) - set(self._learnt.names))
            raise GraftworkError(
                f"{self._folder or self._data}: has images of class {unknown[0]!r}, and the model has learnt "
                f"{', '.join(self._learnt.names)}; evaluate it on images of these"
            )
        return source

    @cached_property
    def parts(self) -> Parts:
        """The images of each part, as they were read.

        Raises:
            GraftworkError: none is left to learn from.
        """
        parts = draw_parts(self.source, self._selection)
        if not (len(parts.train) or self._selection.test_only):
            raise GraftworkError(
                f"{self._folder or self._data}: none of {len(self.source.all()):,} images is left to learn "
                "from, the others are held out or copies of those; give more, or hold out fewer"
            )
        return parts

    @property
    def held_out(self) -> Images:
        """The validation images, on which nobody trains."""
        return self.parts.validation

    def held_out_part(self, split: str) -> Shaped:
        """Return the images of ``validation`` or ``test``, of the model's shape."""
        return Shaped(self.parts.validation if split == "validation" else self.parts.test, self.image_shape)

    @property
    def class_names(self) -> Sequence[str]:
        """What the classes are called, in the order of their numbers."""
        return self.source.names

    @cached_property
    def image_shape(self) -> Shape:
        """Channels, height and width of the images as a model gets them."""
        if self._learnt is not None:
            channels, height, width = self._learnt.shape
        else:
            channels, height, width = self.source.known.features.shape[1:]
        size = self._image_size
        return (channels, height, width) if size is None else (channels, size, size)

    def build_model(self) -> nn.Module:
        """Return the model with fresh weights from torch's global generator, its attention replaced.

        Raises:
            GraftworkError: its attention cannot be replaced, or not by this one.
        """
        model: nn.Module = self._model(image_shape=self.image_shape, classes=len(self.class_names))
        return model if self._attention is None else convert_attention(model, self._attention)

    def training_batches(self, rank: int, world_size: int, seed: int) -> Iterable[ImageBatch]:
        """Return a process's batches without end."""
        return EndlessBatches(
            Shaped(self.parts.train, self.image_shape),
            batch_size=self._batch_size,
            rank=rank,
            world_size=world_size,
            seed=seed,
        )

    def metrics(self, rows: Mapping[str, Tensor]) -> dict[str, float]:
        """Return ``loss``, the mean, ``accuracy`` and ``macro_f1``."""
        f1 = macro_f1(rows["predicted"], rows["label"], len(self.class_names))
        return {**super().metrics(rows), "macro_f1": f1.item()}

    def predict(self, model: nn.Module, inputs: Sequence[Path]) -> list[dict[str, Any]]:
        """Return the class that is ``predicted`` for each picture, and the probability of every class.

        Args:
            model: in evaluation mode.
            inputs: PNG or JPEG files of any size; they are brought to that of the images trained on.

        Raises:
            GraftworkError: one cannot be read, or Pillow is not installed.
        """
        PICTURES.require("predicting pictures")
        pictures = [shaped(torch.from_numpy(read_pictures([path])), self.image_shape) for path in inputs]
        logits: Tensor = model(torch.cat(pictures).to(device_of(model)))
        names = self.class_names
        return [
            {
                "predicted": names[max(range(len(row)), key=row.__getitem__)],
                **{f"probability_{name}": value for name, value in zip(names, row, strict=True)},
            }
            for row in logits.double().softmax(1).tolist()
        ]

    def save_assets(self, folder: Path) -> None:
        """Write ``images.json``: the names of the classes in the order of their numbers, and the shape."""
        learnt = {"classes": list(self.class_names), "image_shape": list(self.image_shape)}
        (folder / _LEARNT).write_text(json.dumps(learnt, indent=1) + "\n", "utf-8")

    def load_assets(self, folder: Path) -> None:
        """Number classes and shape images as those were that the weights in use have learnt.

        Args:
            folder: that may have an ``images.json``.

        Raises:
            GraftworkError: it is not what :meth:`save_assets` writes.
        """
        file = folder / _LEARNT
        if not file.is_file():
            return
        learnt = read_json(file)
        match learnt:
            case {"classes": [*names], "image_shape": [int(channels), int(height), int(width)]} if (
                names and all(isinstance(name, str) for name in names) and min(channels, height, width) > 0
            ):
                self._learnt = Learnt(tuple(names), (channels, height, width))
            case _:
                raise GraftworkError(
                    f"{file}: expected classes, a list of names, and image_shape, that is channels, height "
                    f"and width, got {learnt!r:.80}"
                )

    def facts(self) -> dict[str, str | int | float]:
        """What the data is, as plain data."""
        return {
            "data": self._data,
            **self.parts.facts(),
            "classes": ", ".join(self.class_names),
            "data_seed": self._selection.data_seed,
            "image_shape": " x ".join(map(str, self.image_shape)),
            **({} if self._attention is None else {"attention": _name_of(self._attention)}),
        }


def _name_of(attention: Choice | Callable[..., nn.Module]) -> str:
    if isinstance(attention, Choice):
        return attention.entry.component.name
    return str(getattr(attention, "__qualname__", attention))
