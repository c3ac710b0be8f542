"""When two texts are the same."""

from __future__ import annotations

import pytest

from graftwork_text.corpora import sameness
from graftwork_text.corpora.sameness import evened, fingerprint

SAME = ["The Fox ran.", " the  fox\nran. ", "\ufeffTHE FOX\r\n\u00a0RAN.", "the\tfox\x0cran.\ufeff"]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 16])
def test_white_space_case_and_marks_are_evened_out(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sameness, "_PIECE", piece)
    assert {evened(text) for text in SAME} == {"the fox ran."}
    assert len({fingerprint(text) for text in SAME}) == 1
    assert evened("STRASSE \u1e9e") == "strasse ss"
    assert evened(" \n ") == evened("") == ""


def test_what_differs_in_more_is_not_the_same() -> None:
    texts = [("the fox ran",), ("thefox ran.",), ("the fox", "ran."), ("the", "fox ran."), ("",), ("", "")]
    assert len({fingerprint(*one) for one in [*texts, ("the fox ran.",)]}) == 7
