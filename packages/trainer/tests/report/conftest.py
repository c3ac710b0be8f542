"""Synthetic run directories."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from graftwork_trainer.report import Report, write_report

WriteRun = Callable[..., Path]

ADAMW: Mapping[str, Any] = {"name": "adamw", "lr": 0.003, "betas": [0.9, 0.999]}
# What a language model's task says of its metrics, as a run keeps it.
DIRECTIONS: Mapping[str, str] = {
    "validation/perplexity": "lower",
    "validation/loss": "lower",
    "train/loss": "lower",
}
GWT: Mapping[str, Any] = {"name": "gwt-adamw", "lr": 0.01, "levels": 2}


def to_toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """The few kinds of TOML that recipes hold; a JSON string, number, boolean or list is a TOML one too."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += [f"[{prefix}{key}]", to_toml(value, f"{prefix}{key}.")]
    return "\n".join(lines) + "\n"


def make_result(perplexity: float, **changes: Any) -> dict[str, Any]:
    """The content of a ``result.json`` of a run that ended well."""
    return {
        "status": "finished",
        "reason": None,
        "steps": 600,
        "metrics": {"validation/perplexity": perplexity, "validation/loss": perplexity / 10},
        "parameters": 1836672,
        "optimizer_state_bytes": 8 * 1024**2,
        "step_seconds": {"median": 0.08, "p10": 0.07, "p90": 0.1},
        "optimizer_step_seconds": {"median": 0.01, "p10": 0.009, "p90": 0.02},
        "peak_memory_bytes": 300 * 1024**2,
        "units_per_second": 9000.0,
        "unit": "tokens",
        "wall_seconds": 80.0,
    } | changes


def make_lines(
    perplexity: float, steps: Sequence[int] = (100, 200, 300, 400, 500, 600)
) -> list[dict[str, float]]:
    """Training and validation lines that fall towards ``perplexity``."""
    lines: list[dict[str, float]] = []
    for step in steps:
        seconds = step * 0.08
        lines.append(
            {"step": step, "seconds": seconds, "train/loss": 4 + 100 / step, "train/gradient_norm": 1.2}
        )
        lines.append(
            {"step": step, "seconds": seconds, "validation/perplexity": perplexity + 6000 / step - 10}
        )
    return lines


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """A function that writes a run directory and returns its path."""

    def write(
        name: str,
        *,
        optimizer: Mapping[str, Any] = ADAMW,
        seed: int = 0,
        trainer: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        metrics: Sequence[Mapping[str, Any]] | str | None = None,
        result: Mapping[str, Any] | None = None,
        environment: Mapping[str, Any] | None = None,
        directions: Mapping[str, str] | None = DIRECTIONS,
    ) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        recipe = {
            "task": {"name": "lm-pretrain"},
            "model": {"name": "llama-tiny", "width": 192},
            "optimizer": optimizer,
            "trainer": {"name": "standard", "steps": 600, "seed": seed} | dict(trainer or {}),
        } | dict(extra or {})
        (folder / "recipe.toml").write_text(to_toml(recipe), encoding="utf-8")
        facts: dict[str, Any] = {
            "python": "3.11.7",
            "packages": {"torch": "2.15.0"},
            "device": "cpu",
            "threads": 2,
            "commit": None,
        }
        if directions is not None:
            facts["metric_directions"] = directions
        (folder / "environment.json").write_text(
            json.dumps(facts | dict(environment or {})), encoding="utf-8"
        )
        if metrics is not None:
            text = (
                metrics if isinstance(metrics, str) else "".join(json.dumps(line) + "\n" for line in metrics)
            )
            (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
        if result is not None:
            (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def two_variants(write_run: WriteRun) -> list[Path]:
    """AdamW and GWT-AdamW, three seeds each, all finished; GWT-AdamW with a quarter of the state."""
    runs = []
    for seed, (adamw, gwt) in enumerate([(40.0, 41.0), (40.2, 41.3), (40.4, 41.6)]):
        runs.append(
            write_run(f"adamw-{seed}", seed=seed, metrics=make_lines(adamw), result=make_result(adamw))
        )
        smaller = make_result(gwt, optimizer_state_bytes=2 * 1024**2)
        runs.append(
            write_run(f"gwt-{seed}", optimizer=GWT, seed=seed, metrics=make_lines(gwt), result=smaller)
        )
    return runs


@pytest.fixture
def result_of() -> Callable[..., dict[str, Any]]:
    """A function that gives the content of a ``result.json``, by its perplexity and what else is said."""
    return make_result


@pytest.fixture
def lines_of() -> Callable[..., list[dict[str, float]]]:
    """A function that gives the lines of a ``metrics.jsonl`` that fall towards a perplexity."""
    return make_lines


VOID = {"meta", "br", "hr", "img", "input", "link"}
ADDRESSES = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}


class Page(HTMLParser):
    """Collects tags, attributes and visible text, and checks that elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.words = self.policy = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ADDRESSES:
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
        facts = dict(attrs)
        if facts.get("http-equiv") == "Content-Security-Policy":
            self.policy = facts["content"] or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "title", "script"} & set(self.open):
            self.words += f"{data} "


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[Report, str, Page]]:
    """A function that writes a report and returns what was written, its text and its elements."""

    def write(paths: Sequence[Path], title: str = "A comparison") -> tuple[Report, str, Page]:
        report = write_report(paths, tmp_path / "out", title=title)
        text = report.page.read_text(encoding="utf-8")
        return report, text, Page(text)

    return write
