"""What has changed between a checkpoint and the recipe that is to go on from it, and what may.

Rates of the trainer and of the optimizer, and how often things are recorded, may change: they are used from
the first resumed step on. What makes a training another one may not, unless it is allowed by name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork import GraftworkError
from graftwork.catalogue import short_name
from graftwork_trainer.checkpoint import Opened
from graftwork_trainer.history import Changed

_MAY_CHANGE = frozenset(
    {
        "steps",
        "minutes",
        "epochs",
        "schedule",
        "warmup_steps",
        "device",
        "clip_norm",
        "log_every",
        "evaluate_every",
        "evaluate_agents",
        "best_by",
        "patience",
        "checkpoint_every",
        "keep_checkpoints",
        "workers",
        "gradient_checkpointing",
        "trackers",
        "callbacks",
    }
)
_ABSENT = "not there"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is another now.

    Args:
        name: what ``--allow`` takes.
        what: the option, dotted, or the fact of the data.
        before: in the checkpoint.
        after: now.
        free: whether it may change without being allowed.
    """

    name: str
    what: str
    before: Any
    after: Any
    free: bool = False

    def __str__(self) -> str:
        return f"{self.what} was {_shown(self.before)} and is {_shown(self.after)}"

    def made_at(self, step: int, at: str = "") -> Changed:
        """As the run's history keeps it."""
        return Changed(step, self.what, self.before, self.after, at)


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a training the one that it is.

    Args:
        recipe: sections with every option.
        data: facts of the data, as the task tells them.
        processes: that share the work.
    """

    recipe: Mapping[str, Mapping[str, Any]]
    data: Mapping[str, Any]
    processes: int

    def changes_to(self, now: Identity) -> list[Change]:
        """All that is another in ``now``."""
        return [
            *_changed_options(self.recipe, now.recipe),
            *_changed_facts(self.data, now.data),
            *_changed_processes(self.processes, now.processes),
        ]


def identity_in(checkpoint: Opened) -> Identity:
    """Of the training that wrote a checkpoint.

    Raises:
        GraftworkError: it does not hold one.
    """
    saved = checkpoint.part("recipe", "data")
    if not isinstance(saved["data"], Mapping) or not isinstance(saved["recipe"], Mapping):
        raise GraftworkError(f"checkpoint {checkpoint.path}: does not say by which recipe it was trained")
    return Identity(saved["recipe"], saved["data"], checkpoint.processes)


def refuse_unless_allowed(
    changes: Collection[Change],
    allowed: Collection[str],
    history: Iterable[Changed],
    step: int,
    run: Path,
) -> None:
    """Refuse to go on with what is another training.

    Args:
        changes: since the checkpoint.
        allowed: names that may change.
        history: of the run; a change that was allowed at this step before is allowed still.
        step: of the checkpoint.
        run: that goes on, for messages.

    Raises:
        GraftworkError: something changed that was not allowed, or would end the training before the
            checkpoint; the message holds both values.
    """
    for change in changes:
        if change.what == "trainer.steps" and isinstance(change.after, int) and change.after < step:
            raise GraftworkError(
                f"--resume: trainer.steps is {change.after}, and {step} are taken already in {run}; give "
                f"{step} or more, or remove the checkpoints after step {change.after}"
            )
    earlier = list(history)
    refused = [
        change
        for change in changes
        if not change.free
        and change.name not in allowed
        and not any(change.made_at(step).is_like(one) for one in earlier)
    ]
    if refused:
        first_of_name = {change.name: change for change in reversed(refused)}
        names = list(dict.fromkeys(change.name for change in refused))
        raise GraftworkError(
            f"--resume: {'; '.join(str(first_of_name[name]) for name in names)}; put it back, or go on from "
            f"step {step} of {run} with it by {' '.join(f'--allow {name}' for name in names)}"
        )


def begins_optimizer_anew(changes: Iterable[Change]) -> bool:
    """Whether the optimizer is another, whose state cannot be the old one's."""
    return any(change.name == "optimizer" and not change.free for change in changes)


def _changed_options(
    before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> Iterator[Change]:
    old, new = dict(_flat(before)), dict(_flat(now))
    for path in dict.fromkeys([*old, *new]):
        was, is_ = old.get(path, _ABSENT), new.get(path, _ABSENT)
        if was != is_ or isinstance(was, bool) is not isinstance(is_, bool):
            section, *_, option = path
            own = section in ("task", "trainer") and path[1] != "name"
            free = (section == "trainer" and option in _MAY_CHANGE) or (
                section in ("trainer", "optimizer") and _are_rates(was, is_)
            )
            yield Change(path[1] if own else section, ".".join(path), was, is_, free)


def _changed_facts(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    # What an older version did not tell cannot be said to have changed.
    for fact, was in before.items():
        is_ = now.get(fact, _ABSENT)
        if was != is_:
            kind = fact.partition("_")[0]
            name = kind if kind in ("model", "tokenizer") else "data"
            yield Change(name, f"{fact} of the data", was, is_)


def _changed_processes(before: int, now: int) -> Iterator[Change]:
    if before != now:
        yield Change("processes", "the number of processes", before, now, free=True)


def _flat(sections: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in sections.items():
        if isinstance(value, Mapping):
            yield from _flat(value, (*path, key))
        else:
            yield (*path, key), short_name(value) if key == "name" and isinstance(value, str) else value


def _are_rates(*values: Any) -> bool:
    """Whether they are numbers, one of them written as a float (a default may be 0), or lists of such."""
    if all(isinstance(value, list) for value in values):
        return len({len(value) for value in values}) == 1 and all(map(_are_rates, *values))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return numbers and any(isinstance(value, float) for value in values)


def _shown(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return f"{value[:12]}…"  # a digest is told by its beginning
    return value if value == _ABSENT else repr(value)
