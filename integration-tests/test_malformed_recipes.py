"""Whatever is wrong with a recipe is answered in sentences that name the file and the key.

The recipes are made by `malformed_recipes.py` of all that are registered.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from graftwork import GraftworkError, get_registry, load_recipe, parse_set
from graftwork.recipe import recipe_text
from graftwork.schema import schema_of

RECIPES = [f"{entry.plugin.name}:{entry.component.name}" for entry in get_registry().entries("recipe")]
AT_LEAST = 235


@pytest.fixture(scope="module")
def kit() -> ModuleType:
    """What makes them, beside this file."""
    path = Path(__file__).with_name("malformed_recipes.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where its dataclass looks for names
    spec.loader.exec_module(module)
    return module


def test_each_is_refused_by_file_and_key(kit: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "given.toml"
    met: set[tuple[str, str]] = set()
    wrong: list[str] = []
    for reference in RECIPES:
        resolved = load_recipe(reference).resolve()
        types = {
            choice.kind.name: {
                name: option.type_text
                for name, option in schema_of(choice.target, choice.kind).options.items()
            }
            for choice in resolved.choices()
        }
        types = {section: types.get(section, {}) for section in resolved.sections}
        for one in kit.of_recipe(recipe_text(reference, get_registry()), resolved.sections, types):
            section = (
                one.what.removeprefix("--set ").removeprefix("name of ").partition(" ")[0].partition(".")[0]
            )
            component = resolved.sections.get(section, {}).get("name", "")
            if (component, one.what) in met:  # in another recipe: the check is the component's
                continue
            met.add((component, one.what))
            file.write_text(one.text, "utf-8")
            told = answer(file, one.settings)
            if told.count(str(file)) != 1 or not all(name in told for name in one.names):
                wrong.append(f"{reference}, {one.what}: {told}")
    assert len(met) >= AT_LEAST
    assert not wrong, f"{len(wrong)} of {len(met)}:\n" + "\n".join(wrong)


def answer(file: Path, settings: list[str]) -> str:
    """What a user is told; anything but a sentence for users has no file in it."""
    try:
        load_recipe(str(file), [parse_set(setting) for setting in settings]).resolve()
    except GraftworkError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "taken"
