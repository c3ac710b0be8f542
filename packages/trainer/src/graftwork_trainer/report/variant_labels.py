"""What variants are called: by what differs between them, by their directories, or by letters.

A label holds the values of the few keys that differ and leaves out what follows from a name: where
``optimizer.name`` differs, the options of the optimizers differ too, and only tell apart two variants of the
same name. Where that is too long to stand beside a curve, the directories' names take its place; where these
say nothing either, letters do, and each says what it stands for.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from graftwork.readable import readable
from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.recipe_keys import UNSET, differing, flatten, rates_first, text_of, value_text
from graftwork_trainer.stage_folders import STAGES, stage_names

LONGEST_LABEL = 40
_LONGEST_VALUE = 24
_MOST_KEYS = 3
_SEED_OF_DIRECTORY = re.compile(r"[-_.]?seed[-_=]?\d+$", re.IGNORECASE)
# As `train` names a directory where nobody does: it tells when, not what.
_TIME_OF_DIRECTORY = re.compile(r"\d{8}-\d{6}")


@dataclass(frozen=True, slots=True)
class Label:
    """A name of at most :data:`LONGEST_LABEL` characters, and what it stands for where it does not say so."""

    text: str
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class _Told:
    """What differs, at any length, and in how many keys beside names."""

    text: str
    keys: int

    @property
    def short(self) -> bool:
        return len(self.text) <= LONGEST_LABEL and self.keys <= _MOST_KEYS


def label_variants(variants: Sequence[Sequence[RunRecord]]) -> list[Label]:
    """Name variants, each given by its runs; no two alike."""
    told = [
        _Told(readable(one.text) or _own_directory(runs[0]), one.keys)
        for one, runs in zip(_by_differences([runs[0] for runs in variants]), variants, strict=True)
    ]
    texts = [one.text for one in told]
    short = all(one.short for one in told)
    if short and len(set(texts)) == len(texts):
        return [Label(text) for text in texts]
    if len(texts) == 1:
        return [Label(f"{texts[0][: LONGEST_LABEL - 1]}…", texts[0])]
    names = [_directory_name(runs) for runs in variants]
    if len({name.casefold() for name in names} - {""}) == len(names):
        return [Label(name, text) for name, text in zip(names, texts, strict=True)]
    if short:
        return [Label(text) for text in _made_unique(texts)]
    return [Label(letters(place), text) for place, text in enumerate(texts)]


def letters(place: int) -> str:
    """``A`` for 0, ``Z`` for 25, ``AA`` for 26, as columns of a spreadsheet are called.

    >>> [letters(place) for place in (0, 25, 26, 701, 702)]
    ['A', 'Z', 'AA', 'ZZ', 'AAA']
    """
    before, last = divmod(place, 26)
    return (letters(before - 1) if before else "") + chr(ord("A") + last)


def _directory_name(runs: Sequence[RunRecord]) -> str:
    """What the directories of a variant's runs are called but for the seed; empty where that is too long."""
    names = {_SEED_OF_DIRECTORY.sub("", run.path.resolve().name) for run in runs}
    name = readable(names.pop()) if len(names) == 1 else ""
    return "" if len(name) > LONGEST_LABEL or _TIME_OF_DIRECTORY.search(name) else name


def _by_differences(representatives: Sequence[RunRecord]) -> list[_Told]:
    """By the stages, where these differ, and then among those of the same stages."""
    stages = [" + ".join(stage_names(run.recipe)) for run in representatives]
    if len(set(stages)) == 1:
        return _of_alike(representatives)
    told: dict[int, _Told] = {}
    for names in dict.fromkeys(stages):
        alike = [place for place, other in enumerate(stages) if other == names]
        for place, one in zip(alike, _of_alike([representatives[place] for place in alike]), strict=True):
            told[place] = _Told(f"{names}: {one.text}", one.keys) if names else one
    return [told[place] for place in range(len(stages))]


def _of_alike(representatives: Sequence[RunRecord]) -> list[_Told]:
    if len(representatives) == 1:
        return [_Told(_own_name(representatives[0]), 0)]
    tables = [flatten(run.recipe) for run in representatives]
    staged = bool(stage_names(representatives[0].recipe))
    keys = differing(tables)
    renamed = {key.removesuffix("name") for key in keys if key.endswith(".name")}
    governed = [key for key in keys if any(key.startswith(t) and key != f"{t}name" for t in renamed)]
    shown = [key for key in keys if key not in governed]
    names = [key for key in shown if key.endswith(".name")]
    options = [key for key in shown if key not in names]
    leads = names or _leading_name(options)

    def signature(table: Mapping[str, object]) -> Hashable:
        return tuple(text_of(table, key) for key in shown)

    by_signature: dict[Hashable, list[Mapping[str, object]]] = {}
    for table in tables:
        by_signature.setdefault(signature(table), []).append(table)
    apart = {key: set(differing(alike)) for key, alike in by_signature.items()}
    keys_of = [
        rates_first([*options, *(key for key in governed if key in apart[signature(table)])])
        for table in tables
    ]
    short = _short_names({key for own in keys_of for key in own})
    told = []
    for table, own in zip(tables, keys_of, strict=True):
        parts = [_shortened(table.get(key, UNSET)) for key in leads if key in table]
        # What only others have goes without saying, unless there is nothing else to be told apart by.
        present = [key for key in own if key in table]
        own = present if present or staged else own
        parts += [f"{short[key]}={_shortened(table.get(key, UNSET))}" for key in own]
        told.append(_Told(", ".join(parts), len(own)))
    return told


def _own_name(run: RunRecord) -> str:
    flat = flatten(run.recipe)
    for key in ("name", "optimizer.name", "task.name"):
        # Of stages that do not share it, each its own.
        of_stages = [f"{STAGES}.{name}.{key}" for name in stage_names(run.recipe)]
        if found := [_shortened(flat[one]) for one in (key, *of_stages) if one in flat]:
            return ", ".join(dict.fromkeys(found))
    return ""


def _own_directory(run: RunRecord) -> str:
    """What a run is called of which nothing else tells anything."""
    return readable(run.path.resolve().name) or "run"


def _leading_name(options: Sequence[str]) -> list[str]:
    """Where only options differ: the name of the one section that they stand in, else of the optimizer."""
    sections = {key.split(".")[0] for key in options} - {"trainer"}
    return [f"{sections.pop()}.name" if len(sections) == 1 else "optimizer.name"]


def _short_names(keys: Iterable[str]) -> dict[str, str]:
    """The last part of every dotted key, and as many before it as tell apart two that share it."""
    keys = list(keys)
    endings = {key: [key.split(".", start)[-1] for start in range(key.count(".") + 1)][::-1] for key in keys}
    uses = Counter(ending for of_key in endings.values() for ending in of_key)
    return {key: next((one for one in of_key if uses[one] == 1), key) for key, of_key in endings.items()}


def _shortened(value: object) -> str:
    text = value_text(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _made_unique(labels: Sequence[str]) -> list[str]:
    """Number the labels that became equal, by shortening or because two values read the same."""
    total, taken = Counter(labels), set(labels)
    unique = []
    for label in labels:
        numbered = (f"{label} #{number}" for number in itertools.count(1))
        chosen = next(text for text in numbered if text not in taken) if total[label] > 1 else label
        taken.add(chosen)
        unique.append(chosen)
    return unique
