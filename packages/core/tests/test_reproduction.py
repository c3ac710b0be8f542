"""A finding says where the figure beside it comes from, and calls nothing published that is not."""

from __future__ import annotations

import pytest

from graftwork import Finding


def test_a_published_figure_or_an_expected_one_with_its_source_is_compared():
    for finding, reference, origin, difference in (
        (Finding("x", 2.0, 1.0), 2.0, "published", -0.5),
        (Finding("x", None, 1.0, expected=2.0, source="computed"), 2.0, "computed", -0.5),
        (Finding("x", None, 1.0, expected=0.0, source="by hand"), 0.0, "by hand", None),
        (Finding("x", None, 1.0), None, "", None),
    ):
        assert (finding.reference, finding.origin) == (reference, origin)
        assert finding.relative_difference == difference


@pytest.mark.parametrize(
    ("published", "more", "message"),
    [
        (1.0, {"expected": 1.0, "source": "computed"}, "x: give published or expected, not both"),
        (None, {"expected": 1.0}, "x: expected and source go together, got 1.0 and ''"),
        (1.0, {"source": "computed"}, "x: expected and source go together, got None and 'computed'"),
    ],
)
def test_a_figure_without_a_source_is_refused(published, more, message):
    with pytest.raises(ValueError, match="x: ") as error:
        Finding("x", published, 1.0, **more)
    assert str(error.value) == message
