"""Graftwork's core: a torch-free registry that knows names, and recipes that put them together."""

from graftwork.choice import Choice
from graftwork.component import Command, Component, Kind
from graftwork.contracts import Outcome, Procedure, Run, Task, Trainer
from graftwork.errors import (
    AmbiguousNameError,
    ContractError,
    GraftworkError,
    RecipeError,
    UnknownNameError,
)
from graftwork.hookspecs import hookimpl
from graftwork.overrides import Override, parse_set
from graftwork.recipe import Recipe, build_recipe, load_recipe
from graftwork.registry import Registry, get_registry
from graftwork.reproduction import Finding
from graftwork.resolution import choose
from graftwork.schema import INLINE

__all__ = [
    "Component",
    "Kind",
    "Command",
    "hookimpl",
    "Registry",
    "get_registry",
    "Choice",
    "choose",
    "INLINE",
    "Recipe",
    "load_recipe",
    "build_recipe",
    "Override",
    "parse_set",
    "Task",
    "Trainer",
    "Procedure",
    "Outcome",
    "Run",
    "Finding",
    "GraftworkError",
    "RecipeError",
    "UnknownNameError",
    "AmbiguousNameError",
    "ContractError",
]
