"""--set and --over."""

import re

import pytest

from graftwork import GraftworkError
from graftwork.overrides import parse_over, parse_set, product


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("optimizer.lr=3e-4", ("optimizer", "lr"), 3e-4),
        ("optimizer.name=gwt-adamw", ("optimizer", "name"), "gwt-adamw"),
        ("trainer.compile=true", ("trainer", "compile"), True),
        ("optimizer.betas=[0.9, 0.95]", ("optimizer", "betas"), [0.9, 0.95]),
        ('task.data="a=b"', ("task", "data"), "a=b"),
        ("task.data=a=b", ("task", "data"), "a=b"),
        ("model.attention.landmarks=32", ("model", "attention", "landmarks"), 32),
    ],
)
def test_a_value_is_toml_or_else_text(text, path, value):
    override = parse_set(text)
    assert (override.path, override.value) == (path, value)


@pytest.mark.parametrize("text", ["lr=1", "optimizer.lr", "optimizer.=1", ".lr=1"])
def test_a_malformed_set_shows_the_form(text):
    with pytest.raises(GraftworkError, match="--set takes SECTION"):
        parse_set(text)


@pytest.mark.parametrize("text", ["optimizer.name", "optimizer.name=a,,b", "optimizer.name="])
def test_a_malformed_over_shows_the_form(text):
    with pytest.raises(GraftworkError, match="--over takes"):
        parse_over(text)


def test_the_product_varies_the_last_fastest():
    variants = product(["optimizer.name=a,b", "optimizer.lr=1,2"])
    assert [[override.value for override in variant] for variant in variants] == [
        ["a", 1],
        ["a", 2],
        ["b", 1],
        ["b", 2],
    ]


def test_commas_in_quotes_and_brackets_do_not_split():
    assert [o.value for o in parse_over("""task.data='a,b',"c,d",{x = [1, 2]}""")] == [
        "a,b",
        "c,d",
        {"x": [1, 2]},
    ]


@pytest.mark.parametrize(
    ("read", "text", "told"),
    [
        (parse_set, "optimizer=sgd", "a component is optimizer.name=sgd"),
        (parse_set, "steps=3", "of the trainer it is trainer.steps=3"),
        (parse_over, "model=a,b", "optimizer.name=adamw,sgd, got 'model=a,b'; a component is model.name=a,b"),
    ],
)
def test_a_setting_without_a_section_is_answered_with_what_it_plainly_means(read, text, told):
    with pytest.raises(GraftworkError, match=re.escape(told)):
        read(text)
