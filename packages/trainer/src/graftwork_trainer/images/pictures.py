"""Pictures of one size, as arrays.

Only the decoders of PNG and JPEG are asked, and only where a picture's head promises what can be right: one
of another size than the first, or of more than 16 million pixels, is refused before it is decoded.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftwork import GraftworkError
from graftwork_trainer.files import read_given

if TYPE_CHECKING:
    from PIL import Image

_MOST_PIXELS = 1 << 24
_FORMATS = ("PNG", "JPEG")


def read_pictures(files: Sequence[Path]) -> NDArray[np.float32]:
    """Read pictures.

    Args:
        files: PNG or JPEG, at least one.

    Returns:
        ``[pictures, 3, height, width]`` in 0..1.

    Raises:
        GraftworkError: one cannot be read, or is of another size than the first.
    """
    first = _read(files[0], None)
    read = np.empty((len(files), *first.shape), np.float32)
    for number, file in enumerate(files):
        read[number] = _read(file, (files[0], first.shape[1:])) if number else first
    return read


def _read(path: Path, alike: tuple[Path, tuple[int, ...]] | None) -> NDArray[np.float32]:
    """One picture, ``[3, height, width]``, of the size of another where one is given."""
    from PIL import Image, UnidentifiedImageError

    data = read_given(path)
    try:
        with _opened(data) as picture:
            _check_size(path, (picture.height, picture.width), alike)
            # Decoders make something of what is cut short, too; what was verified is to be reopened.
            picture.verify()
        with _opened(data) as picture:
            # Sixteen bits of grey, which Pillow would cut off at eight.
            if picture.mode.startswith("I"):
                grey = np.asarray(picture, dtype=np.float32) / np.float32(65535)
                return np.broadcast_to(grey, (3, *grey.shape))
            colours = np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)
            return colours.transpose(2, 0, 1)
    except GraftworkError:
        raise
    except UnidentifiedImageError:
        cause = "it does not begin as one"
    except Image.DecompressionBombError:
        cause = f"it has more than {_MOST_PIXELS:,} pixels, the most that are read"
    except Exception as error:  # decoders raise whatever damage leads them to
        cause = " ".join(str(error).split()) or type(error).__name__
    raise GraftworkError(f"{path}: cannot be read as a PNG or JPEG picture ({cause})")


def _opened(data: bytes) -> Image.Image:
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow warns of sizes that are refused here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data), formats=_FORMATS)


def _check_size(path: Path, size: tuple[int, int], alike: tuple[Path, tuple[int, ...]] | None) -> None:
    height, width = size
    if height * width > _MOST_PIXELS:
        raise GraftworkError(
            f"{path}: has {width:,} x {height:,} pixels, and at most {_MOST_PIXELS:,} are read"
        )
    if alike is not None and size != alike[1]:
        raise GraftworkError(
            f"{path}: has {width} x {height} pixels and {alike[0]} has {alike[1][1]} x {alike[1][0]}; the "
            "pictures must be of one size"
        )
