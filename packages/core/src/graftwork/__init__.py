"""Graftwork's core: a torch-free registry that knows names, and recipes that put them together."""

from graftwork.lazy import lazy_names

# Not that of `typing`: current_folder.py says why this file and lazy.py import only what is built in.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from graftwork.choice import Choice, Shorthand, Supplies
    from graftwork.component import Command, Component, Kind
    from graftwork.contracts import Direction, Run, Task, Trainer
    from graftwork.errors import (
        AmbiguousNameError,
        ContractError,
        GraftworkError,
        Interrupted,
        MissingExtraError,
        RecipeError,
        UnknownNameError,
    )
    from graftwork.extras import Extra
    from graftwork.hookspecs import hookimpl
    from graftwork.overrides import Override, parse_set
    from graftwork.recipe import Recipe, build_recipe, load_recipe
    from graftwork.registration import register
    from graftwork.registry import Registry, get_registry
    from graftwork.reproduction import Finding
    from graftwork.resolution import choose

__all__ = [
    "Component",
    "Kind",
    "Extra",
    "Command",
    "hookimpl",
    "register",
    "Registry",
    "get_registry",
    "Choice",
    "Shorthand",
    "Supplies",
    "choose",
    "Recipe",
    "load_recipe",
    "build_recipe",
    "Override",
    "parse_set",
    "Task",
    "Direction",
    "Trainer",
    "Run",
    "Finding",
    "GraftworkError",
    "Interrupted",
    "RecipeError",
    "UnknownNameError",
    "AmbiguousNameError",
    "ContractError",
    "MissingExtraError",
]

# A plugin imports this package, and listing plugins must cost next to nothing.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AmbiguousNameError": "errors",
        "Choice": "choice",
        "Command": "component",
        "Component": "component",
        "ContractError": "errors",
        "Direction": "contracts",
        "Extra": "extras",
        "Finding": "reproduction",
        "GraftworkError": "errors",
        "Interrupted": "errors",
        "Kind": "component",
        "MissingExtraError": "errors",
        "Override": "overrides",
        "Recipe": "recipe",
        "RecipeError": "errors",
        "Registry": "registry",
        "Run": "contracts",
        "Shorthand": "choice",
        "Supplies": "choice",
        "Task": "contracts",
        "Trainer": "contracts",
        "UnknownNameError": "errors",
        "build_recipe": "recipe",
        "choose": "resolution",
        "get_registry": "registry",
        "hookimpl": "hookspecs",
        "load_recipe": "recipe",
        "parse_set": "overrides",
        "register": "registration",
    },
)
