"""Names that are cut still differ."""

from __future__ import annotations

import itertools

import pytest

from graftwork_trainer.report.short_names import short_names

GRID = [
    f"adamw, lr={rate}, weight_decay={decay}"
    for rate, decay in itertools.product(("0.001", "0.002"), ("0.05", "0.1", "0.2"))
]
ALIKE = [f"{'a' * 30}{place}{'b' * 30}" for place in range(12)]


@pytest.mark.parametrize("texts", [GRID, ALIKE, [*ALIKE, f"{'a' * 7}… #1"], ["sgd", *GRID]])
@pytest.mark.parametrize("most", [8, 11, 14, 20, 26, 40])
def test_they_differ_within_their_room(texts, most):
    names = short_names(texts, most)
    assert len(set(names)) == len(texts)
    assert max(map(len, names)) <= most


@pytest.mark.parametrize(
    ("texts", "most", "names"),
    [
        (GRID[:1], 40, GRID[:1]),
        (["one-long-name", "another-long-name"], 8, ["one-lon…", "another…"]),
        (["a, betas=[0.9, 0.99]", "a, betas=[0.8, 0.99]"], 14, ["a, betas=[0.9…", "a, betas=[0.8…"]),
        (GRID, 18, [f"adamw, {rate}, {decay}" for rate in (0.001, 0.002) for decay in (0.05, 0.1, 0.2)]),
        (ALIKE[:2], 8, ["aaaa… #1", "aaaa… #2"]),
        (["the-same-text", "the-same-text"], 6, ["the-s…", "the-s…"]),
        (["x", "long"], 1, ["x", ""]),
    ],
)
def test_keys_go_before_numbers_come(texts, most, names):
    assert short_names(texts, most) == names
