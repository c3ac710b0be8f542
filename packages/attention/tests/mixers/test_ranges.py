"""Options out of their range are refused in a sentence with the range and the value."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graftwork_attention.mixers import ranges


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (lambda: ranges.check_whole("features", 0, 1), "features must be a whole number, 1 or more, got 0"),
        (
            lambda: ranges.check_whole("features", True, 1),
            "features must be a whole number, 1 or more, got True",
        ),
        (
            lambda: ranges.check_whole("features", 1.0, 1),
            "features must be a whole number, 1 or more, got 1.0",
        ),  # type: ignore[arg-type]
        (lambda: ranges.check_whole("tokens", 9, 1, 8), r"tokens must be a whole number in 1\.\.8, got 9"),
        (lambda: ranges.check_odd("kernel", 4), "kernel must be odd, or 0 for none, got 4; 3 and 5 would do"),
        (lambda: ranges.check_probability("dropout", 1.0), r"dropout must be in \[0, 1\), got 1\.0"),
        (lambda: ranges.check_positive("eps", 0.0), r"eps must be greater than 0, got 0\.0"),
        (lambda: ranges.check_positive("eps", float("nan")), "eps must be greater than 0, got nan"),
        (lambda: ranges.check_one_of("norm", "both", ("a", "b")), "norm must be 'a' or 'b', got 'both'"),
    ],
)
def test_what_is_out_of_range_is_refused(check: Callable[[], None], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check()


def test_what_is_in_range_passes() -> None:
    ranges.check_whole("tokens", 8, 1, 8)
    ranges.check_odd("kernel", 0)
    ranges.check_odd("kernel", 3)
    ranges.check_probability("dropout", 0.0)
    ranges.check_positive("eps", 1e-9)
    ranges.check_one_of("norm", "b", ("a", "b"))
