"""A recipe to edit: its own text with the meaning of every option beside it, and the defaults commented out.

Nothing but comments is added, so that it means what it did. A line ``#key = value`` is an option at its
default, ``# text`` is for people.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping

from graftwork.description import DescribedOption
from graftwork.recipe import Recipe, load_recipe, recipe_text
from graftwork.recipe_options import Part, parts_of
from graftwork.registry import Registry
from graftwork.stages import SECTION
from graftwork.toml import dumps, dumps_value
from graftwork.values import NONE

_WIDTH = 100
_HEADING = re.compile(r"\s*\[\[?\s*(?P<path>[\w.-]+)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"\s*(?P<key>[\w-]+)\s*=")


def commented(reference: str, registry: Registry) -> str:
    """A recipe with comments.

    Args:
        reference: a registered name or a file.
        registry: the plugins.

    Raises:
        GraftworkError: there is no such recipe, or it has mistakes.
    """
    recipe = load_recipe(reference, registry=registry)
    text = recipe_text(reference, registry)
    data = tomllib.loads(text)
    written = _Writer(recipe, registry).write(text)
    if not _reads_as(written, data):  # a value of several lines, which looked like others
        written = _Writer(recipe, registry).write(dumps(data))
    return written


def _reads_as(text: str, data: Mapping[str, object]) -> bool:
    try:
        return tomllib.loads(text) == data
    except tomllib.TOMLDecodeError:
        return False


class _Writer:
    """One pass over the text of a recipe."""

    def __init__(self, recipe: Recipe, registry: Registry) -> None:
        self._recipe = recipe
        self._parts = [
            {part.path: part for part in parts_of(stage, registry)} for stage in recipe.stages or (recipe,)
        ]
        self._told: set[tuple[str, str]] = set()

    def write(self, text: str) -> str:
        lines: list[str] = [
            *_comment(
                f"The recipe {self._recipe.name}, to edit; train it with `graftwork train FILE`. "
                "A line `#key = value` is an option at its default."
            ),
            "",
        ]
        stage = -1
        for heading, block in _blocks(text):
            stage += heading == SECTION
            body, between = _without_end(block)
            lines += self._block(heading, body, max(stage, 0))
            lines += between
        for path, part in self._parts[0].items() if not self._recipe.stages else ():
            if "." not in path and not any(told == path for told, _ in self._told):
                lines += ["", *self._default_table(path, part)]
        return "\n".join(lines).rstrip() + "\n"

    def _block(self, heading: str, body: list[str], stage: int) -> Iterator[str]:
        """A table, its comments, and what it leaves to defaults."""
        path = heading.removeprefix(f"{SECTION}.")
        part = self._part(path, stage, in_stage=path != heading)
        if part is None:
            yield from body
            return
        options = {option.name: option for option in part.options}
        given = set()
        remarks: list[str] = []  # of the recipe's own on what comes next
        for line in body:
            if line.lstrip().startswith("#"):
                remarks.append(line)
                continue
            key = match["key"] if (match := _KEY.match(line)) else None
            if key == "name":
                yield from _comment(f"{part.entry.component.summary}.")
            elif key in options:
                default = "" if options[key].required else f", default {options[key].default_text}"
                yield from ("", *_comment(_about(options[key], default)))
                given.add(key)
            yield from (*remarks, line)
            remarks.clear()
        yield from remarks
        if (path, part.entry.full_reference) in self._told:
            return
        self._told.add((path, part.entry.full_reference))
        if part.problem:
            yield from _comment(f"Its other options are not known here: {part.problem}")
        nested = []
        for option in part.options:
            inner = self._parts[stage].get(f"{path}.{option.name}")
            if option.name not in given and option.kind and inner is not None and not inner.table:
                nested.append((f"{heading}.{option.name}", inner))
            elif option.name not in {*given, *part.table} and option.name not in self._sections(stage):
                yield from ("", *_left_out(option))
        for inner_heading, inner in nested:
            yield from ("", *self._default_table(inner_heading, inner))

    def _part(self, path: str, stage: int, *, in_stage: bool) -> Part | None:
        if in_stage or not self._recipe.stages:
            return self._parts[stage].get(path)
        # What all stages begin with, described by the first that uses it.
        return next((parts[path] for parts in self._parts if path in parts), None)

    def _sections(self, stage: int) -> Mapping[str, object]:
        return (self._recipe.stages or (self._recipe,))[stage].sections

    def _default_table(self, heading: str, part: Part) -> Iterator[str]:
        """The table of a component that the recipe does not name, all of it commented out."""
        component = part.entry.component
        self._told.add((heading, part.entry.full_reference))
        yield f"#[{heading}]"
        yield from _comment(f"{component.summary}.")
        yield f"#name = {dumps_value(component.name)}"
        for option in part.options:
            yield from ("", *_left_out(option))


def _left_out(option: DescribedOption) -> Iterator[str]:
    """An option at its default."""
    none = option.default is None and option.default_text == NONE
    if option.kind or (option.default is None and not none):
        default = "" if option.required else f", default {option.default_text}"
        yield from _comment(f"{option.name}: {_about(option, default)}")
        return
    yield from _comment(_about(option))
    yield f"#{option.name} = {dumps_value(NONE if none else option.default)}"


def _about(option: DescribedOption, default: str = "") -> str:
    takes = f"({option.type_text}{default})"
    return f"{option.meaning.rstrip('.')}. {takes}" if option.meaning else takes


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """The lines of each table with its heading; before the first, with an empty one."""
    heading, block = "", list[str]()
    for line in text.splitlines():
        if match := _HEADING.fullmatch(line):
            above = _comments_above(block)
            yield heading, block[: len(block) - above]
            heading, block = match["path"], [*block[len(block) - above :], line]
        else:
            block.append(line)
    yield heading, block


def _comments_above(block: list[str]) -> int:
    """How many lines at the end are a comment on what comes next."""
    count = 0
    while count < len(block) and block[-1 - count].lstrip().startswith("#"):
        count += 1
    return count


def _without_end(block: list[str]) -> tuple[list[str], list[str]]:
    """A block without its empty lines at the end, and those."""
    end = len(block)
    while end and not block[end - 1].strip():
        end -= 1
    return block[:end], block[end:]
