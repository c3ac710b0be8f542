"""Which ways of writing a label are one class, and what is said of them."""

from __future__ import annotations

from collections import Counter

import pytest

from graftwork_text.corpora.label_names import class_names, in_order, remarks_on


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (["1", "1.0", "1.00", " 1 "], ["1", "1", "1", "1"]),
        (["-0.0", "0", "-2.0"], ["0", "0", "-2"]),
        (["10.0", "9.0"], ["10", "9"]),
        # Measures stay as they are written, unless the same number stands there without its point.
        (["0.5", "1.0", "1.5"], ["0.5", "1.0", "1.5"]),
        (["0.5", "1.0", "1"], ["0.5", "1", "1"]),
        # Of a version the last digit counts.
        (["1.1", "1.10", "2.0"], ["1.1", "1.10", "2.0"]),
        (["true", "false"], ["true", "false"]),
        (["true", "False"], ["true", "False"]),
        (["true", "True", "FALSE"], ["True", "True", "False"]),
        (["true", "maybe", "TRUE"], ["True", "maybe", "True"]),
        (["good", " good ", "Good"], ["good", "good", "Good"]),
        (["1.0.0", ".0", ".", "a.0", "1e5"], ["1.0.0", ".0", ".", "a.0", "1e5"]),
        (["1.", "1.0", "1", "-2."], ["1", "1", "1", "-2"]),
        # As numpy.savetxt writes them.
        (["0.000000000000000000e+00", "1.200000000000000000e+01", "-3.00e+00"], ["0", "12", "-3"]),
        (["1.000000000000000000e+00", "1"], ["1", "1"]),
        (["5.00e-01", "1.00e+00"], ["5.00e-01", "1.00e+00"]),
        (["5.00e-01", "1.0"], ["5.00e-01", "1.0"]),
    ],
)
def test_ways_of_writing_a_class(written: list[str], names: list[str]) -> None:
    assert list(class_names(written).values()) == names
    assert list(class_names(written[::-1]).values()) == names[::-1]


def test_order_is_that_of_numbers_and_does_not_hang_on_chance() -> None:
    for _ in range(3):
        assert in_order({"10", "2", "02", "-1"}) == ("-1", "02", "2", "10")
    assert in_order(["b", "10", "9"]) == ("10", "9", "b")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Negative", "negative"),
        ("not  good", "not good"),
        ("caf\u00e9", "cafe\u0301"),
        ("stra\u00dfe", "STRASSE"),
    ],
)
def test_labels_that_look_alike_are_said(first: str, second: str) -> None:
    counts = Counter({first: 12, second: 300, "other": 5})
    (remark,) = remarks_on(counts, class_names(counts))
    assert (remark.fact, remark.count) == ("labels_alike", 2)
    assert remark.told.startswith(
        f"labels {second!r} (300 rows) and {first!r} (12 rows) differ in case or white"
    )


def test_numbers_of_thousands_of_digits_are_in_order_by_alphabet() -> None:
    long = "1" * 5_000
    assert in_order([long, "9", "10"]) == ("10", long, "9")
    assert class_names([long, f"{long}.0"]) == {long: long, f"{long}.0": long}


def test_labels_that_look_like_a_missing_value_are_said() -> None:
    for label in ("nan", "NaN", "None", "null", "#N/A", "n/a", " NA "):
        counts = Counter({"good": 300, label: 12, "nancy": 5})
        (remark,) = remarks_on(counts, class_names(counts))
        assert (remark.fact, remark.count) == ("labels_like_missing_values", 1)
        assert remark.told.startswith(f"label(s) {label!r} (12 rows) look like a missing value")


def test_at_most_three_are_shown() -> None:
    counts = Counter({f"{case}{number}": 1 for number in range(5) for case in "aA"})
    (remark,) = remarks_on(counts, class_names(counts))
    assert remark.count == 10
    assert "'a2' (1 row); 2 more differ" in remark.told
    assert "a3" not in remark.told
