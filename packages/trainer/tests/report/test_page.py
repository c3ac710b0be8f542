"""The page and the figures: whole, self-contained, safe against what stands in recipes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from graftwork.errors import GraftworkError
from graftwork_trainer.report import group_runs, read_run, write_report
from graftwork_trainer.report.table import build_table

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Collects tags, attributes and visible text, and checks that elements nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.ids, self.open = [], [], [], []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}:
                self.links.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "title"} & set(self.open):
            self.words += f"{data} "


def written(paths, tmp_path, title="A comparison"):
    report = write_report(paths, tmp_path / "out", title=title)
    text = report.page.read_text(encoding="utf-8")
    return report, text, Page(text)


def test_the_page_is_self_contained(two_variants, tmp_path):
    _, text, page = written(two_variants, tmp_path)
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert not {"link", "script", "img", "iframe", "object"} & set(page.tags)
    assert "@import" not in text
    assert not re.search(r"https?:|url\((?!#)", text)
    assert page.open == []


def test_the_page_says_all_that_the_table_says(two_variants, tmp_path):
    _, _, page = written(two_variants, tmp_path, title="Two optimizers")
    words = " ".join(page.words.split())
    for row in build_table(group_runs(map(read_run, two_variants))).rows:
        assert row.title in words
        for cell in row.cells:
            assert cell.text in words
    assert "Two optimizers" in words
    assert "gwt-adamw reached perplexity 41.3 ± 0.3" in words
    assert "Band: lowest to highest seed" in words
    assert "optimizer.levels" in words
    assert '[trainer] name = "standard" steps = 600 seed = 0' in words
    assert "torch 2.15.0" in words
    assert page.tags.count("details") == 5


def test_references_inside_the_page_resolve_and_ids_are_unique(two_variants, tmp_path):
    _, text, page = written(two_variants, tmp_path)
    assert len(page.ids) == len(set(page.ids))
    used = set(re.findall(r"url\(#([^)]*)\)", text)) | {link[1:] for link in page.links}
    assert used <= set(page.ids)


def test_figures_follow_the_colour_scheme_of_the_page(two_variants, tmp_path):
    _, text, _ = written(two_variants, tmp_path)
    figures = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert "var(--line-0)" in figures
    assert "var(--ink)" in figures or "var(--muted)" in figures
    painted = re.sub(r'(?:id|href)="[^"]*"|url\([^)]*\)', "", figures)
    assert set(re.findall(r"#[0-9a-fA-F]{3,8}\b", painted)) == set()
    defined = set(re.findall(r"(--[a-z]+-?\d*):", text))
    assert set(re.findall(r"var\((--[a-z0-9-]+)\)", text)) <= defined


def test_hostile_strings_stay_text(write_run, tmp_path):
    evil = "<script>alert(1)</script>"
    lines = [{"step": s, "seconds": s, "validation/<b>$x^$": 2.0 / s, "train/loss": 1.0} for s in (1, 2, 3)]
    paths = [
        write_run(
            f"r{i}",
            optimizer={"name": name, "note": '"><img src=x onerror=alert(1)>'},
            metrics=lines,
            result={
                "status": "failed",
                "reason": evil,
                "optimizer_state_bytes": 5,
                "step_seconds": {"median": 1},
            },
            environment={"platform": evil},
        )
        for i, name in enumerate([evil, "$\\frac{"])
    ]
    report, text, page = written(paths, tmp_path, title=f"{evil} & co")
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "b" not in page.tags
    assert evil in page.words
    assert "<script" not in text
    assert all(file.parent == tmp_path / "out" / "plots" for file in report.figures)


def test_png_files_are_pictures(two_variants, tmp_path):
    from matplotlib.image import imread

    report, _, _ = written(two_variants, tmp_path)
    names = {file.name for file in report.figures}
    assert {
        "validation-perplexity.png",
        "validation-perplexity-by-wall-time.png",
        "train-loss.png",
        "metric-against-optimizer-memory.png",
        "step-time.png",
    } <= names
    assert set((tmp_path / "out" / "plots").iterdir()) == set(report.figures)
    for file in report.figures:
        picture = imread(file)
        # A release of matplotlib may round a pixel otherwise.
        assert np.allclose(picture.shape[:2], (875, 1400), atol=2)
        assert np.allclose(picture[-1, -1, :3], 1.0)
        dark = (picture[..., :3].min(axis=-1) < 0.9).mean()
        assert 0.005 < dark < 0.6
        coloured = (np.ptp(picture[..., :3], axis=-1) > 0.3).mean()
        assert coloured > 0.0005


def test_unfinished_and_failed_runs_are_shown_and_named(write_run, tmp_path, two_variants):
    lines = [
        {"step": s, "seconds": s, "validation/perplexity": 90.0 - s, "train/loss": 9.0 / s}
        for s in (10, 20, 30)
    ]
    running = write_run("running", seed=7, metrics=[*lines, {"step": 35, "train/loss": 0.2}])
    failed = write_run(
        "failed",
        optimizer={"name": "lozo"},
        metrics=lines,
        result={"status": "failed", "reason": "loss is not finite at step 31.", "steps": 31},
    )
    _, _, page = written([*two_variants, running, failed], tmp_path)
    words = " ".join(page.words.split())
    assert "adamw, seed 7, is unfinished at step 35, and counts in no mean." in words
    assert "lozo, seed 0, failed at step 31: loss is not finite at step 31." in words
    assert "40.2 ± 0.2" in words
    assert "3 of 4 seeds" in words
    assert "lozo (failed)" in words


def test_a_lone_unfinished_run(write_run, tmp_path):
    lines = [{"step": s, "validation/loss": 5.0 / s} for s in (1, 2)]
    report, _, page = written([write_run("r", metrics=lines)], tmp_path)
    assert "is unfinished after 2 steps" in page.words
    assert [file.name for file in report.figures] == ["validation-loss.png"]


def test_a_run_without_any_number(write_run, tmp_path):
    report, _, page = written([write_run("r")], tmp_path)
    assert report.figures == ()
    assert "no metric has been recorded yet" in page.words


def test_seeds_on_different_grids_are_drawn_together(write_run, tmp_path):
    for seed, stride in enumerate([10, 15, 7]):
        lines = [
            {"step": s, "seconds": s * 1.1, "validation/loss": 50 / s} for s in range(stride, 100, stride)
        ]
        write_run(f"r{seed}", seed=seed, metrics=lines, result={"status": "finished", "steps": 99})
    report, _, page = written([tmp_path / "runs" / f"r{seed}" for seed in range(3)], tmp_path)
    assert len(report.figures) == 2
    assert "Line: mean over 3 seeds. Band: lowest to highest seed." in page.words


def test_many_variants_turn_the_table_round(write_run, tmp_path):
    result = {
        "status": "finished",
        "steps": 9,
        "metrics": {"validation/loss": 4.0},
        "optimizer_state_bytes": 9,
    }
    paths = [
        write_run(f"r{i}", optimizer={"name": "adamw", "lr": i / 10}, result=result) for i in range(1, 9)
    ]
    _, text, page = written(paths, tmp_path)
    assert 'class="numbers many reflow"' in text
    assert "adamw, lr=0.8" in page.words


def test_one_seed_given_twice_counts_once_and_a_repeated_seed_is_told(write_run, tmp_path):
    result = {"status": "finished", "steps": 9, "metrics": {"validation/loss": 4.0}}
    first, again = write_run("first", result=result), write_run("again", result=result)
    _, _, page = written([first, first], tmp_path)
    assert "±" not in page.words
    _, _, page = written([first, again], tmp_path)
    assert "adamw: 2 runs share the seed 0" in page.words


def test_environments_that_differ_are_told(write_run, tmp_path):
    paths = [
        write_run(f"r{i}", seed=i, environment={"threads": i, "started": f"2025-01-0{i + 1}"})
        for i in range(2)
    ]
    _, _, page = written(paths, tmp_path)
    words = " ".join(page.words.split())
    assert "threads 0; 1 differs between runs" in words
    assert "started 2025-01-01 to 2025-01-02" in words


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(GraftworkError, match="at least one run directory"):
        write_report([], tmp_path, title="Nothing")


def test_two_writings_are_equal(two_variants, tmp_path):
    pages = [write_report(two_variants, tmp_path / name, title="x").page.read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


def test_matplotlib_settings_of_the_caller_stay_as_they_were(two_variants, tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    written(two_variants, tmp_path)
    assert dict(mpl.rcParams) == before


def test_importing_and_reading_draws_in_no_heavy_library(two_variants):
    code = (
        "import sys, json; from pathlib import Path; import graftwork_trainer.report as report; "
        "early = sorted({'torch', 'matplotlib', 'jinja2', 'rich', 'numpy'} & set(sys.modules)); "
        "report.group_runs([report.read_run(Path(sys.argv[1]))]); "
        "late = sorted({'torch', 'matplotlib', 'jinja2', 'rich'} & set(sys.modules)); "
        "report.write_report([Path(sys.argv[1])], Path(sys.argv[2]), title='x'); "
        "print(json.dumps([early, late, 'torch' in sys.modules, 'matplotlib.pyplot' in sys.modules]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(two_variants[0]), str(two_variants[0] / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout) == [[], [], False, False]
