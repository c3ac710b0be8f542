"""What a mixer costs a pretrained model in accuracy: right after it is put in, and after some training.

A sentence encoder (MiniLM) is fine-tuned on film reviews with its own attention, its embeddings frozen. Then
every self-attention of it is replaced, and training goes on: what is left right after, and what comes back.
`sdpa`, which computes what was there before, is the control. The same architecture from random weights tells
what the pretrained weights were worth to a mixer, and a vision transformer on digits whether images say the
same. Nothing of this is published for these models; the figures are what they are.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from graftwork import Finding, GraftworkError
from graftwork_attention.reproductions.conversion_cells import (
    Cell,
    Settings,
    Source,
    replaced,
    task_of,
    train_cell,
    training,
)

_TEXT = ("sdpa", "s3", "nystrom", "performer")
_IMAGES = ("sdpa", "s3", "nystrom")
_ALL = (*_TEXT, "linformer", "fnet", "s4d")
_SETTINGS = "settings.json"


def reproduce(
    output: Path,
    full: bool = False,
    processes: int = 2,
    seeds: int = 3,
    steps: tuple[int, int] = (100, 300),
    steps_before: int = 100,
    test_examples: int = 400,
    weights: str = "minilm",
    corpus: str = "rotten-tomatoes",
    images: str = "mnist-5k",
    image_weights: str = "vit-s-focus",
) -> list[Finding]:
    """Convert pretrained models to mixers, train them, and write one table.

    A call that is ended goes on where it was: each row and seed is written when it is done.

    Args:
        output: folder for ``table.md``, ``findings.json`` and a JSON file for each row and seed; made if need
            be.
        full: every mixer, 1,000 steps as well, and as many seeds from scratch and of images as of text; says
            beforehand how long that will take.
        processes: that train side by side, in one thread each; 1 trains in this one.
        seeds: of text.
        steps: of training after conversion, after which accuracy is taken.
        steps_before: of training with the model's own attention.
        test_examples: that accuracy is of.
        weights: of the text model, as the task sequence-classification takes them.
        corpus: its labelled text.
        images: of the task pixels.
        image_weights: of the model timm-vit.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: a task's package is not installed, what it needs cannot be fetched, or the folder
            holds figures of other options.
    """
    for option, value in {"processes": processes, "seeds": seeds, "steps_before": steps_before}.items():
        if value < 1:
            raise ValueError(f"{option} must be at least 1, got {value}")
    if not 1 <= steps[0] < steps[1]:
        raise ValueError(f"steps must be two numbers from 1 on, the smaller first, got {list(steps)}")
    settings = Settings(
        steps=(*steps, 1000) if full else steps,
        steps_before=steps_before,
        test_examples=test_examples,
        weights=weights,
        corpus=corpus,
        image_weights=image_weights,
        images=images,
    )
    folder = output / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    _keep(settings, folder)
    cells = list(_cells(full, seeds))
    before = list(dict.fromkeys(_before(cell) for cell in cells if cell.source != "text from scratch"))
    if full:
        print(_forecast([*before, *cells], settings, folder, processes), flush=True)
    for group in (before, cells):
        _train([cell for cell in group if not _file(cell, folder).is_file()], settings, folder, processes)
    figures = {cell: json.loads(_file(cell, folder).read_text("utf-8")) for cell in (*before, *cells)}
    (output / "table.md").write_text(_table(figures, settings), "utf-8")
    findings = list(_findings(figures, settings))
    (output / "findings.json").write_text(json.dumps([asdict(finding) for finding in findings], indent=1))
    return findings


def _cells(full: bool, seeds: int) -> Iterator[Cell]:
    """Those of the table, in its order."""
    plan: list[tuple[Source, Sequence[str], int]] = [
        ("text", _ALL if full else _TEXT, seeds),
        ("images", _ALL if full else _IMAGES, seeds if full else 1),
        ("text from scratch", _ALL if full else _TEXT, seeds if full else 1),
    ]
    for source, attentions, count in plan:
        for seed in range(count):
            for attention in attentions:
                yield Cell(source, attention, seed)


def _before(cell: Cell) -> Cell:
    return Cell(cell.source, None, cell.seed)


def _file(cell: Cell, folder: Path) -> Path:
    return folder / f"{cell.name}.json"


def _keep(settings: Settings, folder: Path) -> None:
    """Refuse figures of other options, and remember what these are of."""
    given = json.loads(json.dumps(asdict(settings)))
    file = folder / _SETTINGS
    if file.is_file() and (kept := json.loads(file.read_text("utf-8"))) != given:
        differ = ", ".join(f"{name} = {kept[name]}" for name in given if kept.get(name) != given[name])
        raise GraftworkError(
            f"{folder} holds figures of other options ({differ}); give another folder, or the same options"
        )
    file.write_text(json.dumps(given, indent=1), "utf-8")


def _train(cells: Sequence[Cell], settings: Settings, folder: Path, processes: int) -> None:
    """Train some cells side by side; those that are done stay done where another fails."""
    if not cells:
        return
    began = time.perf_counter()
    for number, cell in enumerate(_done(cells, settings, folder, processes), start=1):
        minutes = (time.perf_counter() - began) / 60
        print(f"{number} of {len(cells)}: {cell.name} ({minutes:.1f} min)", flush=True)


def _done(cells: Sequence[Cell], settings: Settings, folder: Path, processes: int) -> Iterator[Cell]:
    """Each cell once it is trained, in this process or in so many others."""
    if processes == 1:
        for cell in cells:
            train_cell(cell, settings, folder)
            yield cell
        return
    # What the first would fetch, the others would fetch beside it.
    for source in dict.fromkeys(cell.source for cell in cells):
        task_of(source, settings).build_model()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(train_cell, cell, settings, folder): cell for cell in cells}
        try:
            for done in as_completed(running):
                done.result()
                yield running[done]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _forecast(cells: Sequence[Cell], settings: Settings, folder: Path, processes: int) -> str:
    """How long what is left will take, from the cost of a few steps of each model and attention."""
    left = [cell for cell in cells if not _file(cell, folder).is_file()]
    costs: dict[tuple[Source, str | None], float] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for cell in left:
            key = (cell.source, cell.attention)
            if key not in costs:
                costs[key] = _seconds_a_step(cell, settings)
    finally:
        torch.set_num_threads(threads)
    seconds = sum(
        costs[cell.source, cell.attention]
        * (settings.steps_before if cell.attention is None else max(settings.steps))
        for cell in left
    )
    return f"{len(left)} trainings: about {seconds / processes / 60:.0f} minutes and the evaluations"


def _seconds_a_step(cell: Cell, settings: Settings) -> float:
    task = task_of(cell.source, settings)
    model = task.build_model()
    if cell.attention is not None:
        replaced(model, cell.attention, cell.source)
    began = 0.0
    for step in training(task, model, (1, 4), cell.source, seed=0):
        if step == 1:
            began = time.process_time()
    return (time.process_time() - began) / 3


def _rows(figures: dict[Cell, Any]) -> Iterator[tuple[Source, str, list[Cell]]]:
    keys = dict.fromkeys((cell.source, cell.attention) for cell in figures if cell.attention)
    for source, attention in keys:
        yield source, str(attention), [c for c in figures if (c.source, c.attention) == (source, attention)]


def _taken(figures: dict[Cell, Any], cells: Sequence[Cell], when: str) -> list[float]:
    """Accuracies of a row at one time, a number for each seed."""
    if when == "before":
        own = [figures.get(_before(cell)) for cell in cells]
        return [list(one["accuracy"].values())[-1] for one in own if one is not None]
    return [figures[cell]["accuracy"][when] for cell in cells]


def _table(figures: dict[Cell, Any], settings: Settings) -> str:
    """Markdown: accuracies in percent, the mean over seeds and their standard deviation."""
    times = ["before", "right after", *map(str, settings.steps)]
    heading = ["model", "attention", "before", "right after", *(f"{count} steps" for count in settings.steps)]
    lines = ["| " + " | ".join([*heading, "seeds"]) + " |", "| --- " * (len(heading) + 1) + "|"]
    for source, attention, cells in _rows(figures):
        texts = [_text(_taken(figures, cells, when)) for when in times]
        lines.append("| " + " | ".join([source, f"`{attention}`", *texts, str(len(cells))]) + " |")
    return "\n".join(lines) + "\n"


def _text(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def _findings(figures: dict[Cell, Any], settings: Settings) -> Iterator[Finding]:
    times = ["right after", *map(str, settings.steps)]
    for source, attention, cells in _rows(figures):
        before = _taken(figures, cells, "before")
        for when in times:
            values = _taken(figures, cells, when)
            mean = statistics.mean(values)
            error = math.sqrt(mean * (1 - mean) / settings.test_examples)
            # sdpa is what was there: right after it nothing may have changed.
            known = attention == "sdpa" and when == "right after" and bool(before)
            spread = f"± {statistics.stdev(values):.3f} over {len(values)} seeds, " if len(values) > 1 else ""
            yield Finding(
                f"{source}, {attention}: accuracy {when if when == 'right after' else f'after {when} steps'}",
                None,
                mean,
                note=f"{spread}standard error of a test of {settings.test_examples}: {error:.3f}"
                + (f"; before {statistics.mean(before):.3f}" if before else ""),
                expected=statistics.mean(before) if known else None,
                source="computed" if known else "",
            )
