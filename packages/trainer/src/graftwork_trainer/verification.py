"""Whether a run's files are what was written, and whether training would go on from them to the same bits."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from graftwork import GraftworkError
from graftwork.recipe_file import read_toml
from graftwork_trainer.assets import trained_task
from graftwork_trainer.causes import cause_of
from graftwork_trainer.checkpoint import Opened, open_checkpoint
from graftwork_trainer.checkpoint.shard_file import digest_of
from graftwork_trainer.commands.resumed_recipe import load_resumed
from graftwork_trainer.environment import describe_environment
from graftwork_trainer.files import not_readable, read_file
from graftwork_trainer.history import read_history
from graftwork_trainer.lock import holder
from graftwork_trainer.model_folder.manifest import Manifest, model_folder
from graftwork_trainer.own_code import absence_named, differences
from graftwork_trainer.plain_json import read_json
from graftwork_trainer.resuming import Identity, identity_in
from graftwork_trainer.stage_folders import result_of, stage_folders, stage_names_in
from graftwork_trainer.status import COMPLETE_STATUSES
from graftwork_trainer.task_members import facts_of

# What another of makes other bits of the same arithmetic.
_MACHINE = ("processor", "device", "threads")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one file or checkpoint.

    Args:
        what: its name within the run.
        told: in words.
        whole: whether it is as it should be.
    """

    what: str
    told: str
    whole: bool = True

    def __str__(self) -> str:
        return f"{self.what}: {self.told}"


def verify_run(run: Path) -> Iterator[Finding]:
    """Look at every file of a run, the checkpoints oldest first.

    Args:
        run: its directory.

    Raises:
        GraftworkError: it is no run.
    """
    if not (run / "recipe.toml").is_file():
        found = "it has no recipe.toml" if run.is_dir() else "there is no such directory"
        raise GraftworkError(f"{run} is no run: {found}")
    if (now := holder(run)) is not None:
        yield Finding("lock", f"held by {now}; what follows may be out of date")
    names = stage_names_in(run)
    if names:
        yield from map(_read, _plain_files(run))
        yield from _stages(run, names)
        return
    newest, any_there = yield from _contents(run)
    yield _resumption(run, newest, any_there=any_there)


def _stages(run: Path, names: Sequence[str]) -> Iterator[Finding]:
    """What is in each stage; how the run goes on is how the first does that did not end, or the last one."""
    folders = stage_folders(run, names)
    for folder in folders:
        where = str(folder.relative_to(run))
        if not (folder / "recipe.toml").is_file():
            lost = folder.is_dir()
            told = "it has no recipe.toml" if lost else "not begun"
            yield Finding(where, told, whole=not lost)
            continue
        ended = folder != folders[-1] and result_of(folder).get("status") in COMPLETE_STATUSES
        for finding in _contents(folder) if ended else verify_run(folder):
            yield replace(finding, what=f"{where}/{finding.what}")


def _contents(run: Path) -> Generator[Finding, None, tuple[Opened | None, bool]]:
    """Look at every file of one training; return its newest checkpoint, if it is whole, and whether there are
    any."""
    yield from map(_read, _plain_files(run))
    newest = None
    checkpoints = sorted((run / "checkpoints").glob("**/step-*"), key=_in_order)
    for path in checkpoints:
        finding, opened = _looked_at(run, path)
        newest = newest if path.suffix == ".partial" else opened
        yield finding
    for path in sorted([*(run / "checkpoints").glob("**/best-*"), *(run / "checkpoints").glob("last-*")]):
        yield _looked_at(run, path)[0]
    if (folder := model_folder(run)).is_dir():
        yield _model(run, folder)
    return newest, bool(checkpoints)


def _plain_files(run: Path) -> list[Path]:
    names = ("recipe.toml", "environment.json", "metrics.jsonl", "history.json", "result.json")
    needed = names[:2]
    return [run / name for name in names if name in needed or (run / name).exists()]


def _read(path: Path) -> Finding:
    try:
        if path.suffix == ".toml":
            read_toml(path)
        elif path.name == "history.json":
            read_history(path.parent)
        elif path.suffix == ".jsonl":
            lines = read_file(path).decode().splitlines()
            steps = [json.loads(line, parse_constant=_no_json)["step"] for line in lines]
            return Finding(path.name, f"{len(lines)} records, to step {max(steps, default=0)}")
        else:
            content = _object_in(path)
            if path.name == "result.json":
                taken = f", {content['steps']} steps" if "steps" in content else ""
                return Finding(path.name, f"{content['status']}{taken}")
    except OSError as error:
        return Finding(path.name, str(not_readable(path, error)).removeprefix(f"{path}: "), whole=False)
    except GraftworkError as error:
        return Finding(path.name, str(error).removeprefix(f"{path}: ").splitlines()[0], whole=False)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Finding(path.name, f"damaged: {type(error).__name__}: {error}".splitlines()[0], whole=False)
    return Finding(path.name, "read")


def _looked_at(run: Path, path: Path) -> tuple[Finding, Opened | None]:
    """What is found of a checkpoint, and the checkpoint where it is whole."""
    name = _name(run, path)
    if path.suffix == ".partial":
        return Finding(name, "left by a process that was killed; the next one removes it"), None
    try:
        opened = open_checkpoint(path)
        return _checkpoint(name, opened), opened
    except (GraftworkError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        return Finding(name, str(error).removeprefix(f"checkpoint {path}: "), whole=False), None


def _checkpoint(name: str, checkpoint: Opened) -> Finding:
    files = checkpoint.index.files
    size = sum(facts["bytes"] for facts in files.values())
    counted = "one file" if len(files) == 1 else f"{len(files)} files"
    told = f"whole, {counted} of {size / 1e6:,.1f} MB as written, by SHA-256"
    bad = next(filter(None, (_not_finite(checkpoint, weight) for weight in _trained(checkpoint))), None)
    if bad is not None:
        return Finding(name, f"{told}, but {bad!r} is not finite", whole=False)
    return Finding(name, f"{told}; weights are finite")


def _model(run: Path, folder: Path) -> Finding:
    """What is found of the model in the layout of its own library."""
    name = _name(run, folder)
    try:
        manifest = Manifest.read(folder)
        for file, facts in manifest.files.items():
            if digest_of(folder / file) != facts["sha256"]:
                return Finding(name, f"{file} is damaged: it is not what was written", whole=False)
    except OSError as error:
        return Finding(name, cause_of(error), whole=False)
    except (GraftworkError, KeyError, TypeError, AttributeError) as error:
        return Finding(name, str(error), whole=False)
    what = (
        f"{manifest.format}, of {manifest.weights}"
        if manifest.format
        else "what its task needs, no weights yet"
    )
    return Finding(name, f"whole, {len(manifest.files)} files as written; {what}")


def _trained(checkpoint: Opened) -> list[str]:
    if (trained := checkpoint.index.values.get("trained")) is not None:  # weights alone, without an optimizer
        return list(trained)
    groups = checkpoint.index.values["optimizer"]["groups"].values()
    return [weight for group in groups for weight in group["parameters"]]


def _not_finite(checkpoint: Opened, weight: str) -> str | None:
    saved = checkpoint.index.values["model"].get(weight)
    value = torch.as_tensor(checkpoint.decoded(saved))
    return None if bool(torch.isfinite(value).all()) else weight


def _resumption(run: Path, newest: Opened | None, *, any_there: bool) -> Finding:
    if newest is None:
        return (
            Finding("resumes exactly", "no, because the newest checkpoint is damaged", whole=False)
            if any_there
            else Finding("resumes exactly", "from the beginning, because there is no checkpoint yet")
        )
    try:
        reasons = list(_reasons(run, newest))
    except OSError as error:
        reasons = [cause_of(error)]
    except (GraftworkError, ValueError, TypeError, KeyError, AttributeError) as error:
        reasons = [" ".join(str(error).split())]
    where = f"from step {newest.step}, with {_counted(newest.processes)}"
    told = f"no, because {'; '.join(reasons)}" if reasons else f"yes, {where}"
    return Finding("resumes exactly here", told)


def _reasons(run: Path, checkpoint: Opened) -> Iterator[str]:
    """Why training would not go on to the same bits in this environment."""
    environment = _object_in(run / "environment.json")
    now: Mapping[str, Any] = describe_environment()
    for key in _MACHINE:
        if environment.get(key) != now[key]:
            yield f"{key} was {environment.get(key)!r} and is {now[key]!r}"
    # Of those that are gone the recipe needs none, or it does not resolve.
    for package, version in dict(environment.get("packages", {})).items():
        if package in now["packages"] and now["packages"][package] != version:
            yield f"{package} was {version} and is {now['packages'][package]}"
    yield from differences(environment)
    read_history(run)  # which must be readable to resume
    with absence_named(run):
        resolved = load_resumed(str(run / "recipe.toml"), ()).resolve()
    data = facts_of(trained_task(resolved, run, environment)).get("data", {})
    recipe = resolved.sections
    for change in identity_in(checkpoint).changes_to(Identity(recipe, data, checkpoint.processes)):
        yield str(change)
    if now["device"] != "cpu" and not recipe.get("trainer", {}).get("deterministic", True):
        yield "trainer.deterministic is off"
    if recipe.get("trainer", {}).get("minutes") is not None:
        yield "trainer.minutes ends training, and decays the learning rate, by the clock"
    for process in checkpoint.index.values["processes"].values():
        if (reason := process["procedure"].get("inexact")) is not None:
            yield str(reason)
            return


def _in_order(path: Path) -> tuple[int, bool]:
    """By step; of two of one step, the one that another takes the place of comes first."""
    digits = path.name.removeprefix("step-").partition(".")[0]
    return int(digits) if digits.isdecimal() else -1, not path.suffix


def _object_in(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise GraftworkError(f"expected a JSON object, found {type(content).__name__}")
    return content


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _counted(processes: int) -> str:
    return "one process" if processes == 1 else f"{processes} processes"


def _name(run: Path, path: Path) -> str:
    return str(path.relative_to(run))
