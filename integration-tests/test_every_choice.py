"""Every choice with every other: optimizers, tasks, trainers, attentions and topologies that are installed.

The rows come from the registry, so that a package that is installed later is in them. Each trains three steps
on its task's smallest data, is ended before the last of them, and resumed ends with the same bits; or it
refuses in one sentence before the first step. The first rows, which hold most pairs, run on every change; all
of them in the session `choices`.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import GraftworkError, build_recipe, get_registry
from graftwork.registry import Entry
from graftwork.resolution import Resolved
from graftwork.schema import schema_of
from graftwork_trainer import loop
from graftwork_trainer.run_directory import RunDirectory

Row = tuple[str | None, ...]
"""A trainer, a task, an optimizer, a topology and an attention; None where a factor does not apply."""

STEPS = 3
ON_EVERY_CHANGE = 64
TRAINER = {
    "steps": STEPS,
    "warmup_steps": 0,
    "log_every": 1,
    "evaluate_every": 0,
    "checkpoint_every": 1,
    "keep_checkpoints": STEPS,
    "device": "cpu",
    "agents": 4,
}


# Tasks whose smallest model is a decoder, in which no attention can be replaced.
DECODING = ("prompt-answering", "prompt-classification")
# Models with attention, of tasks whose smallest model has none.
ATTENDING = {"image-classification": {"name": "pixel-encoder", "tokens": "linear", "dim": 16, "layers": 1}}


def options_of(kind: str, name: str) -> Mapping[str, Any]:
    """What a recipe may set for a component."""
    registry = get_registry()
    entry = registry.find_in(kind, name)
    return schema_of(registry.resolve(entry), registry.kinds[kind]).options


def names(kind: str) -> list[str]:
    """What is installed of a kind; a name that two plugins claim with its plugin."""
    entries: list[Entry] = get_registry().entries(kind)
    short = [entry.component.name for entry in entries]
    return [n if short.count(n) == 1 else e.full_reference for n, e in zip(short, entries, strict=True)]


def possible_rows() -> Iterator[Row]:
    """Every combination with the models' own attention, a factor left out where the trainer has no option."""
    for trainer in names("trainer"):
        has = options_of("trainer", trainer)
        for optimizer in names("optimizer") if "optimizer" in has else [None]:
            for topology in names("topology") if "topology" in has else [None]:
                for task in names("task"):
                    yield trainer, task, optimizer, topology, None


def rows_with_attention() -> Iterator[Row]:
    """Every attention in the model of every task that takes one, under every trainer, with one optimizer."""
    for trainer in names("trainer"):
        has = options_of("trainer", trainer)
        if "optimizer" in has:
            topology = "ring" if "topology" in has else None
            for task in filter(takes_attention, names("task")):
                for attention in names("attention"):
                    yield trainer, task, "adamw", topology, attention


def takes_attention(task: str) -> bool:
    """Whether `[attention]` of a recipe says what the model of a task has."""
    return "attention" in options_of("task", task) and task not in DECODING


def pairs_of(row: Row) -> set[tuple[int, int, str, str]]:
    """Every pair of values in a row, with the places of their factors."""
    return {
        (i, j, first, second)
        for (i, first), (j, second) in itertools.combinations(enumerate(row), 2)
        if first is not None and second is not None
    }


def pairwise(rows: Iterable[Row]) -> list[Row]:
    """Choose rows, greedily and always the same, until every pair that some row has is in one of them."""
    left = {row: pairs_of(row) for row in rows}
    chosen: list[Row] = []
    while left:
        best = max(left, key=lambda row: (len(left[row]), [value or "" for value in row]))
        covered = left.pop(best)
        chosen.append(best)
        left = {row: rest for row, pairs in left.items() if (rest := pairs - covered)}
    return chosen


def mingled(rows: Iterable[Row]) -> list[Row]:
    """The rows of every trainer in turn, so that any beginning of the list has all of them."""
    of_trainer: dict[str | None, list[Row]] = {}
    for row in rows:
        of_trainer.setdefault(row[0], []).append(row)
    rounds = itertools.zip_longest(*of_trainer.values())
    return [row for together in rounds for row in together if row is not None]


WITH_ATTENTION = pairwise(rows_with_attention())
ROWS = mingled(pairwise(possible_rows()))


def row_id(row: Row) -> str:
    return "-".join(value or "none" for value in row)


def resolved(row: Row, folder: Path) -> Resolved:
    """The recipe of a row, with its task's smallest data."""
    trainer, task, optimizer, topology, attention = row
    registry = get_registry()
    target = registry.resolve(registry.find_in("task", str(task)))
    folder.mkdir(exist_ok=True)
    of_task: dict[str, Any] = dict(target.smallest(folder)) if hasattr(target, "smallest") else {}
    known = options_of("trainer", str(trainer))
    sections: dict[str, Any] = {
        "task": {"name": task, **of_task},
        "trainer": {"name": trainer, **{key: value for key, value in TRAINER.items() if key in known}},
    }
    if optimizer is not None:
        sections["optimizer"] = {"name": optimizer}
    if topology is not None:
        sections["trainer"]["topology"] = topology
    if attention is not None:
        sections["attention"] = {"name": attention}
        if task in ATTENDING:
            sections["task"]["model"] = ATTENDING[task]
    return build_recipe(sections, name="choices", source=row_id(row)).resolve()


class Trained:
    """What a training leaves: every tensor of model and optimizer."""

    def __init__(self, recipe: Resolved, directory: Path, *, resume: bool, patch: pytest.MonkeyPatch) -> None:
        loops: list[loop.Loop] = []

        class Watched(loop.Loop):
            def run_to_end(self) -> None:
                loops.append(self)
                super().run_to_end()

        with patch.context() as patched:
            patched.setattr(loop, "Loop", Watched)
            run = RunDirectory(directory, recipe, {}, resume=resume, quiet=True)
            trainer, task = recipe.trainer(), recipe.task()
            try:
                trainer.fit(task, recipe, run)
            finally:
                run.close()
        procedure = loops[0].procedure
        state = {"model": procedure.model.state_dict(), "optimizer": procedure.optimizer.state_dict()}
        self.tensors = dict(_tensors(state, ""))


def _tensors(tree: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(tree, torch.Tensor):
        yield path, tree.detach().clone()
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _tensors(value, f"{path}/{key}")
    elif isinstance(tree, (list, tuple)):
        for number, value in enumerate(tree):
            yield from _tensors(value, f"{path}/{number}")


def trains_and_resumes(row: Row, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Train, end before the last step, resume, and compare; or refuse before the first step."""
    refusal = ""
    try:
        recipe = resolved(row, folder / "data")
        whole = Trained(recipe, folder / "whole", resume=False, patch=patch)
    except GraftworkError as error:
        refusal = str(error)
    if refusal:
        metrics = folder / "whole" / "metrics.jsonl"
        trained = metrics.read_text("utf-8") if metrics.is_file() else ""
        assert not trained, f"it trained before it refused: {refusal}"
        assert len(refusal) > 20
        return
    shutil.copytree(folder / "whole", folder / "parts")
    shutil.rmtree(folder / "parts" / "checkpoints" / f"step-{STEPS:06d}")
    (folder / "parts" / "result.json").unlink()
    rest = Trained(recipe, folder / "parts", resume=True, patch=patch)
    assert whole.tensors.keys() == rest.tensors.keys()
    assert whole.tensors
    different = [
        name for name, tensor in whole.tensors.items() if not torch.equal(tensor, rest.tensors[name])
    ]
    assert not different, f"other bits after resuming: {different[:5]}"


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row_id(row), marks=[] if number < ON_EVERY_CHANGE else [pytest.mark.choices])
        for number, row in enumerate(ROWS)
    ],
)
def test_a_choice_trains_and_resumes_or_refuses(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains_and_resumes(row, tmp_path, monkeypatch)


@pytest.mark.parametrize("row", WITH_ATTENTION, ids=row_id)
def test_another_attention_trains_and_resumes(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains_and_resumes(row, tmp_path, monkeypatch)
    assert (tmp_path / "parts" / "result.json").is_file(), "it refused"


def test_every_pair_of_choices_is_in_a_row() -> None:
    possible = set().union(*(pairs_of(row) for row in possible_rows()))
    assert possible == set().union(*(pairs_of(row) for row in ROWS))
    assert len(ROWS) < len(list(possible_rows())) / 2
