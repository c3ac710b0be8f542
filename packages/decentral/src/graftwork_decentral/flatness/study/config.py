"""The config of a study: a recipe whose ``[study]`` section takes the place of a trainer.

``[study]`` names a component of the kind ``study``, whose signature says what the section and the others
(``[task]``, ``[optimizer]``, and what the task wants) may hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from graftwork import Choice, GraftworkError, Override, RecipeError, Registry, get_registry, load_recipe
from graftwork.errors import did_you_mean
from graftwork.resolution import Resolution

KIND = "study"
_SHIPPED = Path(__file__).parent / "configs"
# Every recipe has a trainer, and the default one may not be installed.
_NO_TRAINER = Override(("trainer", "name"), "decentralized", "flatness-study")


def read_study(
    reference: str, overrides: Sequence[Override] = (), *, registry: Registry | None = None
) -> tuple[str, Choice]:
    """Read a config and check every option.

    Args:
        reference: a path ending in ``.toml``, or the name of a shipped config.
        overrides: put over the file's values.
        registry: the installed plugins unless given.

    Returns:
        The config's name, and the study, to be built without arguments.

    Raises:
        GraftworkError: there is no such config, or it is not TOML.
        RecipeError: every wrong option, a line each.
    """
    registry = registry or get_registry()
    recipe = load_recipe(str(_located(reference)), [*overrides, _NO_TRAINER], registry=registry, trains=False)
    if KIND not in recipe.sections:
        raise RecipeError(
            recipe.source, ['[study]: is missing; a study\'s config has [study] with name = "flatness"']
        )
    chosen = Resolution(recipe, registry).run_one(KIND)
    used = [KIND, *_sections_used(chosen)]
    unused = [one for one in recipe.sections if one not in used and one != "trainer"]
    if set(recipe.sections["trainer"]) != {"name"}:
        unused.append("trainer")
    if unused:
        raise RecipeError(
            recipe.source,
            [
                f"[{one}]: nothing in this study uses it{did_you_mean(one, used)}; used are "
                f"{', '.join(f'[{name}]' for name in dict.fromkeys(used))}"
                for one in unused
            ],
        )
    return recipe.name, chosen


def shipped_configs() -> dict[str, Path]:
    """Return the configs of this package by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.toml"))}


def _located(reference: str) -> Path:
    if reference.endswith(".toml") or "/" in reference:
        path = Path(reference).expanduser()
        if not path.is_file():
            raise GraftworkError(f"config {reference}: no such file")
        return path
    shipped = shipped_configs()
    if reference not in shipped:
        raise GraftworkError(
            f"no config called {reference!r}{did_you_mean(reference, shipped)} (shipped are: "
            f"{', '.join(shipped)}; a file's name ends in .toml)"
        )
    return shipped[reference]


def _sections_used(choice: Choice) -> Iterator[str]:
    for name, value in {**choice.options, **choice.companion_options}.items():
        if isinstance(value, Choice):
            yield name
            yield from _sections_used(value)
