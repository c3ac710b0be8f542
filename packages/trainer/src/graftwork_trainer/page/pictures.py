"""Pictures inside the page: thumbnails with captions, each shown at its own size by a click or Space.

Every picture is a ``data:`` URI of an ``img`` element. There an SVG is a picture as well: its scripts do not
run and it loads nothing.
"""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from graftwork import GraftworkError
from graftwork_trainer.page.templating import templates

_MOST_BYTES = 4 * 1024**2


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Args:
        source: a ``data:`` URI; the page's policy lets no other be loaded.
        caption: written below it, and read to those who cannot see it.
    """

    source: str
    caption: str


@dataclass(frozen=True, slots=True)
class Pictures:
    """A grid of thumbnails. Its ``__html__`` puts it into a template or a Markup as it is."""

    pictures: Sequence[Picture]

    def __html__(self) -> Markup:
        template = templates("graftwork_trainer.page").get_template("pictures.html.jinja")
        return Markup(template.render(pictures=self.pictures))


def read_picture(path: Path, caption: str) -> Picture:
    """Read a ``.png``, ``.jpg``, ``.jpeg`` or ``.svg`` file of at most 4 MiB.

    Raises:
        GraftworkError: the file cannot be read, is too large, or is not what its name says.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise GraftworkError(f"{path.name}: is not shown, a picture's name ends in {', '.join(_KINDS)}")
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= _MOST_BYTES else b""
    except OSError as error:
        raise GraftworkError(f"{path.name}: cannot be read: {error.strerror or error}") from error
    if size > _MOST_BYTES:
        raise GraftworkError(
            f"{path.name}: is not shown, it has {size / 1024**2:.1f} MiB and at most "
            f"{_MOST_BYTES // 1024**2} MiB are put into a page"
        )
    if not kind.recognizes(data):
        raise GraftworkError(f"{path.name}: is not shown, it is no whole {kind.name} picture")
    return Picture(f"data:{kind.media_type};base64,{base64.b64encode(data).decode()}", caption)


def _is_png(data: bytes) -> bool:
    """Whether the chunks follow each other up to the last."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return False
    place, chunk = 8, b""
    while chunk != b"IEND" and place + 12 <= len(data):
        chunk = data[place + 4 : place + 8]
        place += 12 + int.from_bytes(data[place : place + 4])
    return chunk == b"IEND" and place <= len(data)


def _is_jpeg(data: bytes) -> bool:
    """Whether it begins as one and has an end-of-image marker."""
    return data.startswith(b"\xff\xd8\xff") and b"\xff\xd9" in data


def _is_svg(data: bytes) -> bool:
    """Whether it is XML whose outermost element is SVG's ``svg``, without which no browser draws it."""
    try:
        return ElementTree.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
    except (ElementTree.ParseError, LookupError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    media_type: str
    recognizes: Callable[[bytes], bool]


_KINDS = {
    ".png": _Kind("PNG", "image/png", _is_png),
    ".jpg": _Kind("JPEG", "image/jpeg", _is_jpeg),
    ".jpeg": _Kind("JPEG", "image/jpeg", _is_jpeg),
    ".svg": _Kind("SVG", "image/svg+xml", _is_svg),
}
