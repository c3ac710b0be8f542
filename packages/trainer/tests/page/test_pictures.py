"""Pictures in a page; that broken files are refused is tested where a report shows them."""

from __future__ import annotations

import pytest

from graftwork import GraftworkError
from graftwork_trainer.page import Picture, Pictures, read_picture

SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'


def test_a_picture_is_read_into_the_page(tmp_path):
    (tmp_path / "a.svg").write_text(SVG)
    picture = read_picture(tmp_path / "a.svg", "A shape")
    assert picture.source.startswith("data:image/svg+xml;base64,")
    written = Pictures([picture, picture]).__html__()
    assert written.count(f'<img src="{picture.source}" alt="A shape">') == 2
    assert written.count("<figcaption>A shape</figcaption>") == 2
    assert written.count('<input type="checkbox" aria-label="enlarge A shape">') == 2


def test_hostile_captions_and_sources_stay_text():
    evil = '"><script>alert(1)</script>'
    written = Pictures([Picture(evil, evil)]).__html__()
    assert "<script" not in written
    assert written.count("&#34;&gt;&lt;script&gt;") == 4


def test_what_is_no_picture_or_not_there_is_named(tmp_path):
    with pytest.raises(GraftworkError, match=r"notes\.pdf: is not shown, a picture's name ends in \.png, "):
        read_picture(tmp_path / "notes.pdf", "")
    with pytest.raises(GraftworkError, match=r"gone\.png: cannot be read: No such file"):
        read_picture(tmp_path / "gone.png", "")
