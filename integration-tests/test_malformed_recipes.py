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
from graftwork.cli import main
from graftwork.errors import OptionError
from graftwork.recipe import recipe_text
from graftwork.schema import schema_of
from graftwork_trainer.option_mistakes import refusals_of

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


SEVERAL = """
[task]
name = "lm-pretrain"
sequence_length = 0
batch_size = -4
[model]
name = "llama-tiny"
layers = -1
widht = 3
[optimizer]
name = "gwt-adamw"
level = 99
scale = -1.0
[optimizer.for.galore-adamw]
rnak = 3
[trainer]
name = "decentralized"
steps = -3
agents = 0
precision = "bf16"
[topology]
name = "rign"
"""


def test_several_mistakes_of_every_kind_are_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "several.toml"
    file.write_text(SEVERAL)
    assert main(["train", str(file), "--dry-run"]) == 2
    heading, *lines = capsys.readouterr().err.splitlines()
    assert heading == f"graftwork: error: {file}: {len(lines)} mistakes"
    for about in (
        *("task.sequence_length)", "task.batch_size)", "model.layers)", "model.widht:", "optimizer.level)"),
        *("optimizer.scale)", "[optimizer.for.galore-adamw]", "trainer.steps)", "trainer.agents)"),
        *("trainer.precision:", "topology.name:"),
    ):
        assert sum(about in line for line in lines) == 1, (about, lines)


@pytest.mark.parametrize("sizes", [[], ["model.layers=1", "model.hidden_size=16", "model.heads=2"]], ids=len)
def test_no_optimizer_refuses_its_defaults_where_another_option_is_wrong(sizes: list[str]) -> None:
    met = OptionError("steps must be at least 1", "trainer/standard", "steps")
    for entry in get_registry().entries("optimizer"):
        settings = [f"optimizer.name={entry.plugin.name}:{entry.component.name}", *sizes]
        resolved = load_recipe("lm-pretrain", [parse_set(setting) for setting in settings]).resolve()
        assert refusals_of(resolved, met) == [str(met)], entry.component.name


def answer(file: Path, settings: list[str]) -> str:
    """What a user is told; anything but a sentence for users has no file in it."""
    try:
        load_recipe(str(file), [parse_set(setting) for setting in settings]).resolve()
    except GraftworkError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "taken"
