"""Different values have different names, on every file system."""

from __future__ import annotations

import itertools
import re

import pytest

from graftwork.overrides import product
from graftwork_trainer.commands.variant_names import variant_names


@pytest.mark.parametrize(
    ("overs", "names"),
    [
        (["optimizer.name=adamw,gwt-adamw"], ["adamw", "gwt-adamw"]),
        (["optimizer.lr=1e-3,2"], ["lr-0.001", "lr-2"]),
        (["optimizer.name=sgd", "trainer.steps=1,2"], ["sgd-steps-1", "sgd-steps-2"]),
        (["task.dropout=0", "model.dropout=1"], ["task.dropout-0-model.dropout-1"]),
        (["model.name=a,b", "optimizer.name=b"], ["a-b", "b-b"]),
    ],
)
def test_values_that_can_be_shown_are_the_name(overs, names):
    assert variant_names(product(overs)) == names


@pytest.mark.parametrize(
    "overs",
    [
        ["task.data=da/v1,da-v1"],
        ["task.data=a/b,a-b,a b,a:b,a\\b"],
        ["task.data=A,a"],
        ["task.data=x,'x ',x.,.x,-x"],
        ["task.data=.,..,/,ä,a\u0308,数据,数 据"],
        ["task.data=1,'1',true,'true'"],
        ["optimizer.betas=[0.9,0.99],[0.9,0.9],[0.90,0.99,0]"],
        ["task.inner={name='a'},{name='b'},[]"],
        [f"task.data={'x' * 300}a,{'x' * 300}b,{'ä' * 300}"],
        ["model.name=a,a-b", "optimizer.name=b-c,c"],
        ["model.name=a,a-n-1", "model.n=1,1-n-1"],
    ],
)
def test_names_differ_where_values_do(overs):
    names = variant_names(product(overs))
    assert len({name.lower() for name in names}) == len(product(overs))
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) for name in names)
    assert max(map(len, names)) < 200


def test_a_value_that_is_called_as_another_is_named_is_told_apart():
    (name,) = variant_names(product(["task.data=a/b"]))
    taken = name.removeprefix("data-")
    assert len(set(variant_names(product([f"task.data=a/b,{taken}"])))) == 2


def test_a_name_does_not_depend_on_the_others():
    values = ["adamw", "da/v1", "da-v1", "[1, 2]", "x" * 300]
    alone = {value: variant_names(product([f"task.data={value}"]))[0] for value in values}
    for some in itertools.combinations(values, 3):
        assert variant_names(product([f"task.data={','.join(some)}"])) == [alone[value] for value in some]
