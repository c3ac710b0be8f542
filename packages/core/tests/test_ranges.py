"""Ranges that are compared here, against the library that knows all of them."""

from __future__ import annotations

import itertools

import pytest
from packaging.requirements import Requirement

from graftwork.ranges import allows

SPECIFIERS = """
>=0.2,<0.3 | <0.3,>=0.2 | >=0.2, <0.3 | >=0.2.1 | <1 | >=0.2.0,<0.2.1 | (>=0.2,<0.3)
~=0.2 | ==0.2.* | !=0.2.1 | >0.1 | >=0.2rc1
""".replace("\n", " | ").split(" | ")[:-1]
VERSIONS = ["0.1", "0.1.9", "0.2", "0.2.0", "0.2.1", "0.3.0", "1.0", "0.2.1rc1", "0.10"]


@pytest.mark.parametrize(("specifier", "installed"), list(itertools.product(SPECIFIERS, VERSIONS)))
def test_agrees_with_packaging(specifier, installed):
    line = f"graftwork{specifier}"
    expected = Requirement(line).specifier.contains(installed, prereleases=True)
    assert allows(specifier, line, installed) is expected


def test_a_marker_that_does_not_hold_asks_for_nothing():
    line = '>=9; python_version < "3"'
    assert allows(line, f"graftwork{line}", "0.2")
