"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "aggregate",
        "head",
        "metrics",
        "numerals",
        "paired",
        "palette",
        "point_labels",
        "recipe_keys",
        "strands",
        "variant_labels",
    ],
)
def test_examples(name):
    outcome = doctest.testmod(import_module(f"graftwork_trainer.report.{name}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0
