"""A component whose options are gathered in a dataclass, and stand in its own table all the same.

Reached from here: ``docstrings.py``, ``group.py``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable

import pytest

from graftwork import GraftworkError, RecipeError, build_recipe, get_registry
from graftwork.info import info_lines

PLUGIN = """
from dataclasses import dataclass
from typing import Annotated
from graftwork import Choice

@dataclass(frozen=True, kw_only=True)
class Steps:
    '''How long.

    Args:
        steps: how many.
        seed: of all that is drawn.
    '''
    steps: int = 100
    seed: int = 0

    def __post_init__(self):
        if self.steps < 1: raise ValueError(f"steps must be at least 1, got {self.steps}")

@dataclass(frozen=True, kw_only=True)
class Network(Steps):
    '''Who exchanges.

    Args:
        graph: of the agents.
    '''
    graph: Annotated[Choice, "topology"] = "circle"

class Task:
    def __init__(self, *, size: int = 2): self.size = size
    def build_model(self): ...
    def batches(self, split, *, rank, world_size, seed): ...
    def loss(self, model, batch): ...
    def evaluate(self, model): ...

class Trainer:
    def __init__(self, *, agents: int = 4, loop: Network = Network(seed=5)):
        self.agents, self.loop = agents, loop
    def fit(self, task, recipe, run): ...

class Clashing(Trainer):
    def __init__(self, *, steps: int = 4, loop: Steps = Steps()): ...

@dataclass(frozen=True, kw_only=True)
class Scaled:
    level: float = 255.0
    def __post_init__(self): object.__setattr__(self, "level", self.level / 255)

class Rescaling(Trainer):
    def __init__(self, *, loop: Scaled = Scaled()): ...

class Missing(Trainer):
    def __init__(self, *, loop: Steps = None): ...

def circle(agents, *, width: int = 1): return ("circle", agents, width)

@hookimpl
def graftwork_components():
    yield Component(Kind.TRAINER, "gossip", "graftwork_gossip:Trainer", "neighbours")
    yield Component(Kind.TRAINER, "clashing", "graftwork_gossip:Clashing", "two of one name")
    yield Component(Kind.TRAINER, "rescaling", "graftwork_gossip:Rescaling", "changes what it is given")
    yield Component(Kind.TRAINER, "missing", "graftwork_gossip:Missing", "has no default")
    yield Component(Kind.TASK, "small", "graftwork_gossip:Task", "a task")
    yield Component(Kind.TOPOLOGY, "circle", "graftwork_gossip:circle", "a ring")
"""

RECIPE = """
[task]
name = "small"
[trainer]
name = "gossip"
"""


@pytest.fixture
def gossip(add_plugin: Callable[..., object]) -> None:
    add_plugin("gossip", PLUGIN)


def resolved(more: str = "") -> object:
    return build_recipe(tomllib.loads(RECIPE + more)).resolve()


def test_options_of_a_group_stand_in_the_same_table(gossip: None) -> None:
    recipe = resolved("steps = 7\nagents = 3\n")
    trainer = recipe.trainer()
    assert (trainer.agents, trainer.loop.steps) == (3, 7)
    assert recipe.sections["trainer"] == {
        "name": "gossip",
        "agents": 3,
        "steps": 7,
        "seed": 5,
        "graph": {"name": "circle", "width": 1},
    }


def test_the_default_instance_says_the_defaults(gossip: None) -> None:
    assert resolved().trainer().loop.seed == 5
    assert resolved("seed = 1\n").trainer().loop.seed == 1


def test_a_group_may_hold_a_component(gossip: None) -> None:
    graph = resolved(
        "\n[topology]\nname = 'circle'\n".replace("[topology]", "[graph]") + "width = 3\n"
    ).trainer()
    assert graph.loop.graph(6) == ("circle", 6, 3)
    assert resolved("graph.width = 2\ngraph.name = 'circle'\n").trainer().loop.graph(4) == ("circle", 4, 2)


def test_what_is_resolved_resolves_to_itself(gossip: None) -> None:
    recipe = resolved("steps = 7\n")
    again = build_recipe(tomllib.loads(recipe.to_toml())).resolve()
    assert again.sections == recipe.sections


def test_mistakes_name_the_table_they_were_made_in(gossip: None) -> None:
    with pytest.raises(RecipeError) as caught:
        resolved('steps = "many"\nagent = 3\n')
    text = str(caught.value)
    assert "trainer.steps: expected whole number, got 'many'" in text
    assert "trainer/gossip has no option 'agent', did you mean 'agents'?" in text


def test_a_value_out_of_range_names_the_component_that_the_recipe_names(gossip: None) -> None:
    with pytest.raises(GraftworkError, match=r"^trainer/gossip: steps must be at least 1, got 0"):
        resolved("steps = 0\n").trainer()


def test_two_options_of_one_name_are_refused(gossip: None) -> None:
    with pytest.raises(RecipeError, match=r"Clashing has an option of its own and one of loop, both called"):
        build_recipe(tomllib.loads(RECIPE.replace("gossip", "clashing"))).resolve()


def test_info_shows_the_options_of_a_group(gossip: None) -> None:
    registry = get_registry()
    text = "\n".join(info_lines(registry.find("trainer/gossip"), registry))
    assert "steps  whole number, default 100" in text
    assert "seed  whole number, default 5" in text
    assert "how many." in text
    assert "graph  the name of a topology, or the section [graph], default circle" in text
    assert "loop  " not in text


@pytest.mark.parametrize(
    ("trainer", "sentence"),
    [
        ("rescaling", "Scaled changes level when it is made of its own values; keep what was given"),
        ("missing", "its default must be a Steps, got None"),
    ],
)
def test_a_group_that_a_recipe_could_not_keep_is_refused(gossip: None, trainer: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        build_recipe(tomllib.loads(RECIPE.replace("gossip", trainer))).resolve()
