"""Options that take a list of components, each by its name or as a table."""

from __future__ import annotations

import tomllib

import pytest

from graftwork import RecipeError, build_recipe, parse_set

PLUGIN = '''
from collections.abc import Sequence
from typing import Annotated
from graftwork import Choice

class Task:
    def build_model(self): ...
    def batches(self, split, *, rank, world_size, seed): ...
    def loss(self, model, batch): ...
    def evaluate(self, model): ...

class Trainer:
    """Trains.

    Args:
        trackers: where metrics go.
    """
    def __init__(self, *, trackers: Annotated[Sequence[Choice | str], "tracker"] = ("lines",)):
        self.trackers = trackers
    def fit(self, task, recipe, run): ...

class Lines:
    def __init__(self, folder: str = "here"): self.folder = folder
    def open(self, run, step, recipe): ...
    def record(self, step, metrics): ...
    def close(self): ...

class Bare:
    open = record = close = lambda self: None

@hookimpl
def graftwork_components():
    here = "graftwork_kit"
    yield Component(Kind.TASK, "task", f"{here}:Task", "a task")
    yield Component(Kind.TRAINER, "trainer", f"{here}:Trainer", "a trainer")
    yield Component(Kind.TRACKER, "lines", f"{here}:Lines", "with an option")
    yield Component(Kind.TRACKER, "bare", f"{here}:Bare", "without options")
'''


@pytest.fixture
def resolve(add_plugin, discover):
    """Resolve sections with some settings."""
    add_plugin("kit", PLUGIN)
    registry = discover()
    plain = {"task": {"name": "task"}, "trainer": {"name": "trainer"}}

    def run(*settings, sections=plain):
        overrides = list(map(parse_set, settings))
        return build_recipe(sections, overrides=overrides, registry=registry).resolve(registry)

    return run


def built(resolved):
    return [(type(one()).__name__, one.options) for one in resolved.trainer().trackers]


@pytest.mark.parametrize(
    ("given", "trackers"),
    [
        (None, [("Lines", {})]),
        ("[]", []),
        ('["bare", "lines"]', [("Bare", {}), ("Lines", {})]),
        ('[{name = "lines", folder = "there"}, "bare"]', [("Lines", {"folder": "there"}), ("Bare", {})]),
    ],
)
def test_a_list_is_resolved_in_its_order_and_written_so_that_it_is_read_again(resolve, given, trackers):
    resolved = resolve(*([] if given is None else [f"trainer.trackers={given}"]))
    assert built(resolved) == trackers
    again = resolve(sections=tomllib.loads(resolved.to_toml()))
    assert [name for name, _ in built(again)] == [name for name, _ in trackers]
    assert again.to_toml() == resolved.to_toml()
    assert len(list(again.choices())) == 2 + len(trackers)


def test_one_is_written_by_its_name_or_as_a_table_where_it_has_options(resolve):
    written = resolve('trainer.trackers=["bare", {name = "lines", folder = "there"}]').to_toml()
    trackers = tomllib.loads(written)["trainer"]["trackers"]
    assert trackers[0] == "bare"
    assert trackers[1] == {"name": "lines", "folder": "there"}


def test_every_mistake_in_a_list_is_told_with_its_place(resolve):
    with pytest.raises(RecipeError) as wrong:
        resolve('trainer.trackers=["bare", "line", {name = "lines", foldr = "x"}, 3]')
    where = "trainer.trackers"
    beginnings = [f"{where}.2.name: ", f"{where}.3.foldr: ", f"{where}.4: expected the name of a tracker"]
    for mistake, beginning in zip(wrong.value.mistakes, beginnings, strict=True):
        assert mistake.startswith(beginning)
    assert "did you mean 'folder'" in str(wrong.value)


def test_what_is_no_list_is_refused(resolve):
    with pytest.raises(RecipeError, match="list of trackers, each a name or a table with name, got 3"):
        resolve("trainer.trackers=3")


def test_a_name_alone_is_a_list_of_one(resolve):
    assert built(resolve("trainer.trackers=bare")) == [("Bare", {})]
