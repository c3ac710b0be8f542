"""``[[stages]]`` of a recipe: what each is made of, and what is said of mistakes in one of them."""

from __future__ import annotations

import tomllib

import pytest

from graftwork import RecipeError, build_recipe, load_recipe, parse_set

PLUGIN = """
class Task:
    def __init__(self, *, model: Choice, data: str = "prose", window: int = 8): ...
    def build_model(self): ...
    def batches(self, split, *, rank, world_size, seed): ...
    def loss(self, model, batch): ...
    def evaluate(self, model): ...

class Table(Task):
    def __init__(self, *, rows: int = 10): ...

class Trainer:
    def __init__(self, *, optimizer: Choice, steps: int = 100, seed: int = 0): ...
    def fit(self, task, recipe, run): ...

class Neighbours(Trainer):
    def __init__(self, *, optimizer: Choice, graph: Annotated[Choice, "topology"] = "ring", steps: int = 100):
        ...

class SGD:
    def __init__(self, params, lr: float = 0.1, momentum: float = 0.0): ...
    def step(self): ...
    def zero_grad(self): ...
    def state_dict(self): ...
    def load_state_dict(self, state): ...

class Adam(SGD):
    def __init__(self, params, lr: float = 0.001, eps: float = 1e-8): ...

def model(width: int = 16): ...
def topology(hubs: int = 4): ...

@hookimpl
def graftwork_components():
    here = "graftwork_kit"
    yield Component(Kind.TASK, "lm", f"{here}:Task", "a task")
    yield Component(Kind.TASK, "table", f"{here}:Table", "a task without a model of the recipe's")
    yield Component(Kind.TRAINER, "standard", f"{here}:Trainer", "a trainer")
    yield Component(Kind.TRAINER, "neighbours", f"{here}:Neighbours", "another trainer")
    yield Component(Kind.OPTIMIZER, "sgd", f"{here}:SGD", "an optimizer")
    yield Component(Kind.OPTIMIZER, "adam", f"{here}:Adam", "an optimizer")
    yield Component(Kind.MODEL, "network", f"{here}:model", "a model")
    yield Component(Kind.TOPOLOGY, "ring", f"{here}:topology", "a graph")
    yield Component(Kind.TOPOLOGY, "star", f"{here}:topology", "a graph")
"""
RECIPE = """
description = "general texts, then one's own"
[task]
name = "lm"
[model]
name = "network"
width = 32
[optimizer]
name = "adam"
lr = 0.01
eps = 1e-6
[optimizer.for.sgd]
lr = 0.5
momentum = 0.9
[trainer]
steps = 10
[[stages]]
name = "general"
[[stages]]
name = "mine"
[stages.task]
data = "mine"
[stages.optimizer]
name = "sgd"
momentum = 0.1
[stages.trainer]
steps = 3
"""


@pytest.fixture
def registry(add_plugin, discover):
    add_plugin("kit", "from typing import Annotated\nfrom graftwork import Choice\n" + PLUGIN)
    return discover()


@pytest.fixture
def resolve(registry, tmp_path):
    def run(text=RECIPE, *settings):
        path = tmp_path / "given.toml"
        path.write_text(text)
        return load_recipe(str(path), [parse_set(s) for s in settings], registry=registry).resolve(registry)

    return run


def mistakes(resolve, *arguments):
    with pytest.raises(RecipeError) as caught:
        resolve(*arguments)
    return list(caught.value.mistakes)


def test_a_stage_is_laid_over_the_recipe(resolve):
    general, mine = resolve().stages
    assert (general.name, mine.name) == ("general", "mine")
    assert general.sections["optimizer"] == {"name": "adam", "lr": 0.01, "eps": 1e-6}
    assert mine.sections["task"] == {"name": "lm", "data": "mine", "window": 8}
    assert mine.sections["model"] == general.sections["model"] == {"name": "network", "width": 32}
    assert (general.trainer.options["steps"], mine.trainer.options["steps"]) == (10, 3)


def test_another_name_takes_none_of_the_recipes_options_but_those_for_that_name(resolve):
    # momentum is the stage's, which goes before what the recipe has for sgd; eps was adam's.
    assert resolve().stages[1].sections["optimizer"] == {"name": "sgd", "lr": 0.5, "momentum": 0.1}


def test_a_stage_has_options_for_one_name_only(resolve):
    text = RECIPE + "[stages.optimizer.for.adam]\nlr = 7.0\n"
    text = text.replace("momentum = 0.1\n", "")
    plain, other = resolve(text).stages[1], resolve(text, "optimizer.name=adam").stages[1]
    assert plain.sections["optimizer"] == {"name": "sgd", "lr": 0.5, "momentum": 0.9}
    assert other.sections["optimizer"]["lr"] == 7.0


def test_a_plain_recipe_has_no_stages(resolve):
    resolved = resolve(RECIPE.partition("[[stages]]")[0])
    assert resolved.stages == ()
    assert resolved.sections["trainer"]["steps"] == 10


def test_what_is_written_is_every_stage_in_full_and_reads_back_the_same(resolve):
    resolved = resolve()
    written = resolved.to_toml()
    assert list(tomllib.loads(written)) == ["stages"]
    assert resolve(written).sections == resolved.sections
    assert resolve(written).to_toml() == written


def test_stages_may_be_all_there_is(resolve):
    only = "[[stages]]\n[stages.task]\nname='table'\n[stages.optimizer]\nname='sgd'\n" * 2
    assert [stage.name for stage in resolve(only).stages] == ["1", "2"]


def test_the_command_line_goes_over_every_stage_or_over_one(resolve):
    stages = resolve(
        RECIPE, "trainer.steps=5", "stages.2.optimizer.lr=0.3", "stages.mine.task.window=2"
    ).stages
    assert [stage.sections["trainer"]["steps"] for stage in stages] == [5, 5]
    assert [stage.sections["optimizer"]["lr"] for stage in stages] == [0.01, 0.3]
    assert [stage.sections["task"]["window"] for stage in stages] == [8, 2]


def test_a_section_of_the_recipe_is_for_the_stages_that_use_it(resolve):
    text = RECIPE + "[[stages]]\n[stages.task]\nname = 'table'\n"
    stages = resolve(text, "model.width=64").stages
    assert [stage.sections.get("model", {}).get("width") for stage in stages] == [64, 64, None]
    (told,) = mistakes(resolve, text, "stages.3.model.width=64")
    assert told.startswith("stage '3': [model]: nothing in this recipe uses it")
    graphs = "[topology]\nname = 'star'\n" + RECIPE
    assert mistakes(resolve, graphs) == ["[topology]: no stage of this recipe uses it"]


def test_an_override_passes_over_stages_without_the_section(resolve):
    text = RECIPE.replace("[stages.trainer]", "[stages.graph]\nname = 'star'\n[stages.trainer]")
    text = text.replace("steps = 3", "name = 'neighbours'")
    general, mine = resolve(text, "graph.hubs=6").stages
    assert "graph" not in general.sections
    assert mine.sections["graph"] == {"name": "star", "hubs": 6}


def test_nested_tables_follow_the_same_rule(registry):
    base = {
        "task": {"name": "table"},
        "optimizer": {"name": "sgd"},
        "trainer": {"name": "neighbours", "graph": {"name": "star", "hubs": 9}},
        "stages": [
            {"trainer": {"graph": {"hubs": 2}}},
            {"trainer": {"graph": {"name": "ring"}}},
            {"trainer": {"graph": "ring"}},
            {"trainer": {"name": "standard"}},
        ],
    }
    stages = build_recipe(base, registry=registry).resolve(registry).stages
    assert [stage.sections["trainer"].get("graph") for stage in stages] == [
        {"name": "star", "hubs": 2},
        {"name": "ring", "hubs": 4},
        {"name": "ring", "hubs": 4},
        None,
    ]


@pytest.mark.parametrize(
    ("text", "settings", "told"),
    [
        # Two stages, two mistakes, and one that is the recipe's own: said once.
        (
            RECIPE.replace("momentum = 0.1", "beta = 1"),
            ["stages.general.optimizer.lr=fast", "trainer.stepz=1"],
            [
                "trainer.stepz (--set trainer.stepz=1): trainer/standard has no option 'stepz'",
                "stage 'general': optimizer.lr (--set stages.general.optimizer.lr=fast): expected float",
                "stage 'mine': optimizer.beta: optimizer/sgd has no option 'beta'",
            ],
        ),
        (RECIPE.replace('"sgd"', '"sdg"'), [], ["stage 'mine': optimizer.name: "]),
        (RECIPE.replace('"mine"\n[stages.task]', '"Mine"\n[stages.task]'), [], ["stage 2: name must be"]),
        (RECIPE.replace('"mine"\n[stages.task]', '"1"\n[stages.task]'), [], ["stage 2: name must be"]),
        (RECIPE.replace('name = "mine"\n[s', 'name = "general"\n[s'), [], ["stage 2: 'general' is the name"]),
        (RECIPE.replace('name = "mine"\n[s', 'model = "network"\n[s'), [], ["stage '2': model must"]),
        ("stages = []\n" + RECIPE.partition("[[")[0], [], ["stages: must be tables"]),
        ('[stages.general]\n[task]\nname = "lm"', [], ["stages: must be tables in the order of training"]),
        (RECIPE, ["stages.mein.trainer.steps=1"], ["--set stages.mein.trainer.steps=1: no stage is called"]),
        (RECIPE, ["stages.mine.steps=1"], ["--set stages.mine.steps=1: must be stages.STAGE.SECTION.KEY"]),
        (RECIPE.partition("[[")[0], ["stages.a.trainer.steps=1"], ["--set stages.a.trainer.steps=1: the"]),
        (
            "[[stages]]\n[[stages]]\n",
            [],
            ["[task]: is missing; a recipe says what to train", "[optimizer]: is missing; [trainer] needs"],
        ),
    ],
)  # fmt: skip
def test_all_mistakes_at_once_each_with_its_stage(resolve, text, settings, told):
    found = mistakes(resolve, text, *settings)
    assert len(found) == len(told), found
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True)), found
