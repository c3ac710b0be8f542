"""A plugin whose recipe uses a nested component, a default one, and options of each sort."""

from __future__ import annotations

from pathlib import Path

KIT = '''
from typing import Annotated, Literal
from graftwork import Choice, Supplies

class Letters:
    """Writes letters.

    Args:
        model: who writes.
        length: pages of a letter.
        paper: sort of paper.
    """

    def __init__(self, model: Annotated[Choice, Supplies("words")], length: int = 2,
                 paper: Literal["laid", "wove"] = "laid", seal: float | None = None): pass
    def build_model(self): pass
    def dataset(self, split): pass
    def loss(self, model, batch): pass
    def evaluate(self, model): pass

def scribe(words, patience: float = 0.5, words_known: int = 3):
    """Writes slowly.

    Args:
        patience: how much of it.
    """

def press(words, copies: int = 100): pass

def post(letter: bool = True): pass

def pigeon(range_km: float = 40.0): pass

class Office:
    """Sends.

    Args:
        optimizer: what improves.
        by: how.
    """

    def __init__(self, optimizer: Choice, by: Annotated[Choice | str, "strategy"] = "pigeon",
                 steps: int = 10): pass
    def fit(self, task, recipe, run): pass

def scale(params, lr: float = 0.1, betas: tuple[float, float] = (0.9, 0.99)):
    """Scale the gradient.

    Args:
        lr: step size.
    """

@hookimpl
def graftwork_components():
    yield Component(Kind.TASK, "letters", "graftwork_kit:Letters", "letters to everybody")
    yield Component(Kind.MODEL, "scribe", "graftwork_kit:scribe", "a scribe")
    yield Component(Kind.MODEL, "press", "graftwork_kit:press", "a printing press", "arXiv:1440")
    yield Component(Kind.OPTIMIZER, "scale", "graftwork_kit:scale", "scales")
    yield Component(Kind.STRATEGY, "pigeon", "graftwork_kit:pigeon", "by air")
    yield Component(Kind.STRATEGY, "scale", "graftwork_kit:pigeon", "by weight")
    yield Component(Kind.TRAINER, "office", "graftwork_kit:Office", "a post office")
    yield Component(Kind.RECIPE, "letters", "kit_recipes:letters.toml", "letters of a scribe")

class Send:
    def configure(self, parser): parser.add_argument("recipe", metavar="RECIPE")
    def more_help(self, arguments): yield f"more of {arguments.recipe}"
    def run(self, arguments): return 0

@hookimpl
def graftwork_commands():
    yield Command("send", "send letters", "graftwork_kit:Send")
'''

RECIPE = """\
description = "Letters."

[task]
name = "letters"
# Short ones are read.
length = 1

# Slow and steady.
[model]
name = "scribe"

[optimizer]
name = "scale"
lr = 2e-3

[optimizer.for.sgd]
lr = 1.0

[trainer]
name = "office"
"""

STAGED = """
[task]
name = "letters"

[optimizer]
name = "scale"

[trainer]
name = "office"

[[stages]]
name = "by-hand"

[stages.model]
name = "scribe"

[[stages]]
name = "printed"

[stages.model]
name = "press"
copies = 7

[stages.trainer]
steps = 3
"""


def write_recipe_package(folder: Path) -> None:
    """The package that the recipe lies in."""
    package = folder / "kit_recipes"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "letters.toml").write_text(RECIPE)
