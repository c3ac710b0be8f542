"""A component that takes over the options of another, which it knows by name alone."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

import pytest

from graftwork import GraftworkError, RecipeError, build_recipe, get_registry
from graftwork.inventory import info_lines

LOOP = """
class Loop:
    '''Runs steps.

    Args:
        steps: how many.
        seed: of all that is drawn.
        note: printed.
    '''
    def __init__(self, *, steps: int = 100, seed: int = 0, note: str = "loop"):
        if steps < 1: raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps, self.seed, self.note = steps, seed, note
    def run(self): ...

@hookimpl
def graftwork_kinds():
    yield Kind("toy-loop", contract="target(**options) -> loop: run().", attributes=("run",))

@hookimpl
def graftwork_components():
    yield Component("toy-loop", "standard", "graftwork_loop:Loop", "a loop")
"""

TRAINER = """
from typing import Annotated
from graftwork import INLINE, Choice

class Task:
    def __init__(self, *, size: int = 2): self.size = size
    def build_model(self): ...
    def batches(self, split, *, rank, world_size, seed): ...
    def loss(self, model, batch): ...
    def evaluate(self, model): ...

class Trainer:
    def __init__(self, *, agents: int = 4, note: str = "own",
                 loop: Annotated[Choice, "toy-loop", INLINE] = "standard"):
        self.agents, self.note, self.loop = agents, note, loop()
    def fit(self, task, recipe, run): ...

@hookimpl
def graftwork_components():
    yield Component(Kind.TRAINER, "gossip", "graftwork_gossip:Trainer", "neighbours")
    yield Component(Kind.TASK, "small", "graftwork_gossip:Task", "a task")
"""

RECIPE = """
[task]
name = "small"
[trainer]
name = "gossip"
"""


@pytest.fixture
def both(add_plugin: Callable[..., object]) -> None:
    add_plugin("loop", LOOP)
    add_plugin("gossip", TRAINER)


def resolved(more: str = "") -> object:
    return build_recipe(tomllib.loads(RECIPE + more)).resolve()


def test_options_of_the_inlined_component_stand_in_the_same_table(both: None) -> None:
    recipe = resolved("steps = 7\nagents = 3\n")
    trainer = recipe.trainer()
    assert (trainer.agents, trainer.loop.steps, trainer.loop.seed) == (3, 7, 0)
    assert recipe.sections["trainer"] == {"name": "gossip", "agents": 3, "note": "own", "steps": 7, "seed": 0}


def test_what_is_resolved_resolves_to_itself(both: None) -> None:
    recipe = resolved("steps = 7\n")
    again = build_recipe(tomllib.loads(recipe.to_toml())).resolve()
    assert again.sections == recipe.sections


def test_an_option_of_its_own_goes_before_the_inlined_one(both: None) -> None:
    trainer = resolved('note = "mine"\n').trainer()
    assert (trainer.note, trainer.loop.note) == ("mine", "loop")


def test_mistakes_name_the_table_they_were_made_in(both: None) -> None:
    with pytest.raises(RecipeError) as caught:
        resolved('steps = "many"\nagent = 3\n')
    text = str(caught.value)
    assert "trainer.steps: expected whole number, got 'many'" in text
    assert "trainer/gossip has no option 'agent', did you mean 'agents'?" in text


def test_a_value_out_of_range_names_the_component_that_the_recipe_names(both: None) -> None:
    with pytest.raises(GraftworkError, match=r"^trainer/gossip: steps must be at least 1, got 0"):
        resolved("steps = 0\n").trainer()


def test_without_the_other_plugin_the_mistake_says_what_is_missing(add_plugin: Callable[..., object]) -> None:
    add_plugin("gossip", TRAINER)
    with pytest.raises(RecipeError, match=r"trainer/gossip.*toy-loop"):
        resolved("steps = 7\n")


def test_info_shows_the_inlined_options(both: None) -> None:
    registry = get_registry()
    text = "\n".join(info_lines(registry.find("trainer/gossip"), registry))
    assert "steps  whole number, default 100" in text
    assert "how many." in text
    assert text.count("note  ") == 1
    assert "loop  " not in text
