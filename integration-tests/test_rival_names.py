"""A plugin of somebody else's that registers every name of ours: what we ship means what it meant."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from graftwork import Registry, build_recipe, get_registry, load_recipe, parse_set
from graftwork.errors import RecipeError
from graftwork.overrides import product
from graftwork.plugins import Plugin
from graftwork.registry import registry_in_use

RECIPES = [f"{entry.plugin.name}:{entry.component.name}" for entry in get_registry().entries("recipe")]


@pytest.fixture
def contested() -> Iterator[Registry]:
    """The installed plugins, and one that registers all that they do."""
    components = tuple(
        {entry.component.reference: entry.component for entry in get_registry().entries()}.values()
    )
    rival = Plugin("rival", "graftwork-rival", "1.0", "rival", components=components)
    registry = get_registry().extended(rival)
    with registry_in_use(registry):
        yield registry


@pytest.mark.parametrize("reference", RECIPES)
def test_every_recipe_resolves_to_what_it_did(reference: str, contested: Registry) -> None:
    recipe = load_recipe(reference)
    resolved = recipe.resolve()
    assert {choice.entry.plugin.name for choice in resolved.choices()}.isdisjoint({"rival"})
    # What a run keeps of it can be read again beside that plugin.
    assert build_recipe(resolved.sections).resolve().sections == resolved.sections
    for variant in product(recipe.compare):
        chosen = load_recipe(reference, variant).resolve()
        assert {choice.entry.plugin.name for choice in chosen.choices()}.isdisjoint({"rival"})


def test_a_short_name_of_the_users_is_ambiguous_and_the_answer_is_taken(contested: Registry) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("text:lm-pretrain", [parse_set("optimizer.name=adamw")])
    (mistake,) = caught.value.mistakes
    *_, ours, _, theirs = mistake.split()
    assert (ours, theirs) == ("optimizer/optim-core:adamw", "optimizer/rival:adamw")
    for name in (ours, theirs):
        chosen = load_recipe("text:lm-pretrain", [parse_set(f"optimizer.name={name}")]).resolve()
        assert f"optimizer/{chosen.trainer.options['optimizer'].entry.plugin.name}:adamw" == name


def test_a_short_name_of_a_recipe_is_ambiguous_and_the_answer_is_taken(contested: Registry) -> None:
    with pytest.raises(LookupError, match="write recipe/text:lm-pretrain or recipe/rival:lm-pretrain"):
        load_recipe("lm-pretrain")
    assert load_recipe("recipe/text:lm-pretrain").name == "lm-pretrain"
