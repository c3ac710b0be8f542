"""Whether variants have common ground, on which one can be better than another.

Their task, data, vocabulary, model and length of training must be the same. Facts of the data are what the
task tells of them, under names of its choice: those that end in ``sha256`` are digests, ``corpus`` is the
data set, ``vocabulary`` and ``tokenizer`` are how its text is cut up, ``model…`` are the weights that
training began with.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graftwork_trainer.report.numerals import compact
from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.recipe_keys import canonical, flatten, value_text

if TYPE_CHECKING:
    from graftwork_trainer.report.variants import Variant

_CORPUS, _DIGEST = "corpus", "sha256"
# How a text is cut up and how a model is asked are not what it is asked about.
_NO_DATA = ("vocabulary", "tokenizer", "model", "prompts")
_MODEL_NAMES = ("model.name", "task.model.name", "task.model")
_OF_A_BATCH = {"size": "batch_size", "sequence length": "sequence_length"}
_DIGITS = 8
_MOST_TOLD = 3
# The last batch of an epoch, or padding, may be another for another seed.
_SAME_AMOUNT = 0.01

Texts = Sequence[str | None]
"""What each variant has, None where it does not say."""


def why_not_ranked(variants: Sequence[Variant]) -> str:
    """One sentence on what differs so that no variant is better than another; empty where nothing does.

    Variants that have not ended are in no ranking, and count only where there are no others.
    """
    ended = [variant for variant in variants if variant.complete_runs]
    compared = ended if len(ended) > 1 else variants
    told = [f"{name} ({_listed(values)})" for name, values in _aspects(compared).items() if _differ(values)]
    if not told:
        return ""
    *others, last = told
    return f"Not ranked, because the runs differ in {', '.join(others)}{' and ' if others else ''}{last}."


def by_data(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Runs of one recipe, apart where the digests of their data say that they were trained on other data."""
    groups: dict[str, list[RunRecord]] = {}
    for run, digests in zip(runs, _shared([_digests(run) for run in runs]), strict=True):
        # One that was killed before it told of its data belongs to the first.
        key = canonical(digests) if digests or not groups else next(iter(groups))
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def facts_of_data(run: RunRecord) -> Mapping[str, Any]:
    """What the task of a run, of the last of several stages, told of its data; empty where nothing."""
    found = run.ended_with.environment.get("data")
    return found if isinstance(found, Mapping) else {}


def data_set(run: RunRecord) -> str | None:
    """The name of what a run was trained on, or where it lay; None where nobody says."""
    return _told(facts_of_data(run).get(_CORPUS)) or _given(run, "task.data")


def _aspects(variants: Sequence[Variant]) -> dict[str, Texts]:
    runs = [variant.counted_runs[0] for variant in variants]
    vocabularies = _first_differing(
        [_told(facts_of_data(run).get("vocabulary")) for run in runs],
        [_short(facts_of_data(run).get(f"tokenizer_{_DIGEST}")) for run in runs],
        [_unless("vocabulary" in facts_of_data(run), _given(run, "task.vocabulary_size")) for run in runs],
    )
    return {
        "task": [_given(run, "task.name") for run in runs],
        "data": _data(runs, recut=_differ(vocabularies)),
        "vocabulary": vocabularies,
        "model": _models(runs),
        "what is evaluated": [_evaluated(run) for run in runs],
        **_lengths(variants),
    }


def _data(runs: Sequence[RunRecord], *, recut: bool) -> Texts:
    """The data of each: by name, and by digest where a name stands for several.

    Args:
        runs: one of each variant.
        recut: whether vocabularies differ: then so does what was made of one corpus by them.
    """
    facts = [_about_data(run, only=_CORPUS if recut else "") for run in runs]
    # Names and sizes follow from digests; without any they are all there is.
    digests = [{key: own[key] for key in own if key.endswith(_DIGEST)} for own in facts]
    compared = digests if all(own for own, fact in zip(digests, facts, strict=True) if fact) else facts
    # Another version may tell more: what two of them tell is compared, whatever a third one does.
    keys = dict.fromkeys(key for own in compared for key in own)
    changed = [
        key for key in keys if _differ([canonical(own[key]) if key in own else None for own in compared])
    ]
    if not changed:
        return [None if all(facts) else _given(run, "task.data") for run in runs]
    names = [data_set(run) for run in runs]
    key = changed[0]
    told = [(_short if key.endswith(_DIGEST) else _told)(own.get(key)) for own in compared]
    identities = {canonical(own) for own in compared}
    if len(identities) == len(set(names)) == len(set(zip(names, map(canonical, compared), strict=True))):
        return names
    what = key.removesuffix(f"_{_DIGEST}").replace("_", " ")
    return [
        None if text is None else f"{name or 'data'}: {what} {text}"
        for name, text in zip(names, told, strict=True)
    ]


def _models(runs: Sequence[RunRecord]) -> Texts:
    recipes = [flatten(run.ended_with.recipe) for run in runs]
    sizes = [run.result.parameters if run.result else None for run in runs]
    weights = _shared([_digests(run, of="model") for run in runs])
    return _first_differing(
        [next((_told(own[key]) for key in _MODEL_NAMES if key in own), None) for own in recipes],
        [None if size is None else f"{size:,.0f} parameters" for size in sizes],
        [_short(next(iter(own.values()), None)) for own in weights],
        # Before anything is known of its size.
        [value_text(run.ended_with.recipe.get("model", {})) if None in sizes else None for run in runs],
    )


def _evaluated(run: RunRecord) -> str | None:
    """Options of the task that say on how much of the data it is evaluated."""
    own = flatten(run.ended_with.recipe)
    told = [f"{key} = {value_text(own[key])}" for key in own if key.startswith("task.evaluation")]
    return ", ".join(told) or None


def _lengths(variants: Sequence[Variant]) -> dict[str, Texts]:
    """How long was trained: as many steps, or minutes, on as much of the data in each step."""
    minutes = [_given(variant.runs[0], "trainer.minutes") for variant in variants]
    if set(minutes) - {None, "none"}:
        return {"minutes": [text or "none" for text in minutes]}
    return {"steps": [_steps(variant) for variant in variants], **_amounts(variants)}


def _steps(variant: Variant) -> str | None:
    """Of a run that stopped early, those that it would have taken: when to stop is part of the training."""
    steps = {
        flatten(run.recipe).get("trainer.steps") if _stopped_early(run) else run.steps
        for run in variant.complete_runs
    }
    known = sorted(int(count) for count in steps if isinstance(count, int | float))
    return " to ".join(f"{count:,}" for count in dict.fromkeys((known[0], known[-1]))) if known else None


def _stopped_early(run: RunRecord) -> bool:
    return "stopped-early" in (run.status, *(stage.record.status for stage in run.stages))


def _amounts(variants: Sequence[Variant]) -> dict[str, Texts]:
    """Tokens, or what else the task counts, where a step has more of them in one variant than in another."""
    counted = [[run for run in variant.complete_runs if run.units and run.steps] for variant in variants]
    units = {unit for runs in counted for _, unit in [run.units for run in runs if run.units]}
    if len(units) > 1:
        return {}
    means = [
        statistics.fmean([run.units[0] / run.steps for run in runs if run.units] or [0]) for runs in counted
    ]
    known = [mean for mean in means if mean]
    if known and max(known) - min(known) > _SAME_AMOUNT * max(known):
        return {units.pop(): [f"{compact(mean)} a step" if mean else None for mean in means]}
    return {
        # Of runs that do not tell what they were trained on, what the recipe does.
        f"{option} of a batch": [
            _unless(bool(runs), _given(variant.counted_runs[0], f"task.{key}"))
            for variant, runs in zip(variants, counted, strict=True)
        ]
        for option, key in _OF_A_BATCH.items()
    }


def _about_data(run: RunRecord, only: str = "") -> dict[str, Any]:
    facts = facts_of_data(run)
    return {key: facts[key] for key in facts if key.startswith(only) and not key.startswith(_NO_DATA)}


def _digests(run: RunRecord, of: str = "") -> dict[str, Any]:
    """Of the data, or of what else has names that begin in the same way."""
    facts = facts_of_data(run) if of else _about_data(run)
    return {key: facts[key] for key in facts if key.startswith(of) and key.endswith(_DIGEST)}


def _shared(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tables cut down to the keys that all have which have any: another version may tell more."""
    telling = [table for table in tables if table]
    keys = [key for key in (telling[0] if telling else ()) if all(key in table for table in telling)]
    return [{key: table[key] for key in keys} if table else {} for table in tables]


def _given(run: RunRecord, key: str) -> str | None:
    """A value of the recipe; of several stages, the last one's."""
    return _told(flatten(run.ended_with.recipe).get(key))


def _unless(known: bool, text: str | None) -> str | None:
    return None if known else text


def _told(value: object) -> str | None:
    return None if value is None else value_text(value)


def _short(value: object) -> str | None:
    """A digest as far as eyes compare it."""
    text = _told(value)
    return None if text is None else text[:_DIGITS]


def _first_differing(*candidates: Texts) -> Texts:
    return next((values for values in candidates if _differ(values)), candidates[0])


def _differ(values: Texts) -> bool:
    return len(set(values) - {None}) > 1


def _listed(values: Texts) -> str:
    told = list(dict.fromkeys(value for value in values if value is not None))
    more = f"; {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
    return "; ".join(_cut(text) for text in told[:_MOST_TOLD]) + more


def _cut(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
