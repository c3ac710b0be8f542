"""The report and its figures: whole, self-contained, safe against what stands in recipes.

Reached from here: ``report/every_run.py``.
"""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from graftwork.errors import GraftworkError
from graftwork_trainer.report import group_runs, read_run, write_report
from graftwork_trainer.report.table import build_table


def test_the_page_is_self_contained(two_variants, written):
    _, text, page = written(two_variants)
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == 1
    assert "default-src 'none'" in page.policy
    assert "@import" not in text
    assert not re.search(r"https?:|url\((?!#)", text)
    assert page.open == []


def test_the_page_says_all_that_the_table_says(two_variants, written):
    _, _, page = written(two_variants, title="Two optimizers")
    words = " ".join(page.words.split())
    for row in build_table(group_runs(map(read_run, two_variants))).rows:
        assert row.title in words
        for cell in row.cells:
            assert cell.text in words
    assert "Two optimizers" in words
    assert "reached validation perplexity 41.3 ± 0.3" in words
    assert "Band: lowest to highest seed" in words
    assert "optimizer.levels" in words
    assert '[trainer] name = "standard" steps = 600 seed = 0' in words
    assert "torch 2.15.0" in words
    assert "Options that only some of them have (2)" in words
    assert page.tags.count("details") == 6


def test_references_inside_the_page_resolve_and_ids_are_unique(two_variants, written):
    _, text, page = written(two_variants)
    assert len(page.ids) == len(set(page.ids))
    used = set(re.findall(r"url\(#([^)]*)\)", text)) | {link[1:] for link in page.links}
    assert used <= set(page.ids)


def test_figures_follow_the_colour_scheme_of_the_page(two_variants, written):
    _, text, _ = written(two_variants)
    figures = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert "var(--line-0)" in figures
    assert "var(--ink)" in figures or "var(--muted)" in figures
    painted = re.sub(r'(?:id|href)="[^"]*"|url\([^)]*\)', "", figures)
    assert set(re.findall(r"#[0-9a-fA-F]{3,8}\b", painted)) == set()
    defined = set(re.findall(r"(--[a-z]+-?\d*):", text))
    assert set(re.findall(r"var\((--[a-z0-9-]+)\)", text)) <= defined


def test_hostile_strings_stay_text(write_run, tmp_path, written):
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
    report, text, page = written(paths, title=f"{evil} & co")
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert "b" not in page.tags
    assert evil in page.words
    assert text.count("<script") == 1
    assert all(file.parent == tmp_path / "out" / "plots" for file in report.figures)


def test_png_files_are_pictures(two_variants, tmp_path, written):
    from matplotlib.image import imread

    report, _, _ = written(two_variants)
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
        assert np.allclose(picture.shape[:2], (700, 1120), atol=2)
        assert np.allclose(picture[-1, -1, :3], 1.0)
        dark = (picture[..., :3].min(axis=-1) < 0.9).mean()
        assert 0.005 < dark < 0.6
        coloured = (np.ptp(picture[..., :3], axis=-1) > 0.3).mean()
        assert coloured > 0.0005


def test_unfinished_and_failed_runs_are_shown_and_named(write_run, two_variants, written):
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
    _, _, page = written([*two_variants, running, failed])
    words = " ".join(page.words.split())
    assert "adamw, seed 7, is unfinished at step 35, and counts in no mean." in words
    assert "lozo, seed 0, failed at step 31: loss is not finite at step 31." in words
    assert "40.2 ± 0.2" in words
    assert "3 of 4 seeds" in words
    assert "lozo (failed)" in words


def test_a_lone_unfinished_run(write_run, written):
    lines = [{"step": s, "validation/loss": 5.0 / s} for s in (1, 2)]
    report, _, page = written([write_run("r", metrics=lines)])
    assert "is unfinished after 2 steps" in page.words
    assert [file.name for file in report.figures] == ["validation-loss.png"]


def test_a_run_without_any_number(write_run, written):
    report, _, page = written([write_run("r")])
    assert report.figures == ()
    assert "no metric has been recorded yet" in page.words


def test_seeds_on_different_grids_are_drawn_together(write_run, tmp_path, written):
    for seed, stride in enumerate([10, 15, 7]):
        lines = [
            {"step": s, "seconds": s * 1.1, "validation/loss": 50 / s} for s in range(stride, 100, stride)
        ]
        write_run(f"r{seed}", seed=seed, metrics=lines, result={"status": "finished", "steps": 99})
    report, _, page = written([tmp_path / "runs" / f"r{seed}" for seed in range(3)])
    assert len(report.figures) == 2
    assert "Line: mean over 3 seeds. Band: lowest to highest seed." in page.words


def test_many_variants_turn_the_table_round(write_run, written):
    result = {
        "status": "finished",
        "steps": 9,
        "metrics": {"validation/loss": 4.0},
        "optimizer_state_bytes": 9,
    }
    paths = [
        write_run(f"r{i}", optimizer={"name": "adamw", "lr": i / 10}, result=result) for i in range(1, 9)
    ]
    _, text, page = written(paths)
    assert 'class="numbers many reflow"' in text
    assert "adamw, lr=0.8" in page.words
    # Of validation and training there may be one name; which is which is said above it.
    assert 'data-heading="validation: loss"' in text
    assert '<span class="section">validation</span>loss' in text


def test_one_seed_given_twice_counts_once_and_a_repeated_seed_is_told(write_run, written):
    result = {"status": "finished", "steps": 9, "metrics": {"validation/loss": 4.0}}
    first, again = write_run("first", result=result), write_run("again", result=result)
    _, _, page = written([first, first])
    assert "±" not in page.words
    _, _, page = written([first, again])
    assert "adamw: 2 runs share the seed 0" in page.words


def test_environments_that_differ_are_told(write_run, written):
    paths = [
        write_run(f"r{i}", seed=i, environment={"threads": i, "started": f"2025-01-0{i + 1}"})
        for i in range(2)
    ]
    _, _, page = written(paths)
    words = " ".join(page.words.split())
    assert "threads 0; 1 differs between runs" in words
    assert "started 2025-01-01 to 2025-01-02" in words


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(GraftworkError, match="at least one run directory"):
        write_report([], tmp_path, title="Nothing")


def test_two_writings_are_equal(two_variants, tmp_path):
    pages = [write_report(two_variants[:1], tmp_path / name, title="x").page.read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


def test_matplotlib_settings_of_the_caller_stay_as_they_were(two_variants, written):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    written(two_variants[:1])
    assert dict(mpl.rcParams) == before


def test_importing_and_reading_draws_in_no_heavy_library(two_variants):
    code = (
        "import sys, json; from pathlib import Path; import graftwork_trainer.report as report; "
        "early = sorted({'torch', 'matplotlib', 'jinja2', 'numpy'} & set(sys.modules)); "
        "report.group_runs([report.read_run(Path(sys.argv[1]))]); "
        "late = sorted({'torch', 'matplotlib', 'jinja2'} & set(sys.modules)); "
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


def test_every_run_can_be_sorted_by_what_its_columns_mean(write_run, result_of, written):
    seconds = [7200.0, 95.0, 4000.0]
    paths = [
        write_run(
            f"run-{seed}", seed=seed, result=result_of(40.0 + seed, wall_seconds=second, steps=9 * 11**seed)
        )
        for seed, second in zip((2, 10, 1), seconds, strict=True)
    ]
    _, text, page = written(paths)
    assert "Every run (3)" in page.words
    body = re.search(r'class="sortable">.*?<tbody>(.*?)</tbody>', text, flags=re.DOTALL)
    assert body is not None
    cells = re.findall(r'data-rank="(\d+)">(.*?)</t[dh]>', body[1])
    rows = [cells[start : start + 6] for start in range(0, len(cells), 6)]
    by_seed, by_steps, by_time = (
        [(row[place][1], int(row[place][0])) for row in rows] for place in (1, 3, 4)
    )
    assert by_seed == [("1", 0), ("2", 1), ("10", 2)]
    assert [rank for _, rank in by_steps] == [0, 1, 2]
    assert by_time == [("1.111 h", 1), ("2.000 h", 2), ("1.583 min", 0)]


def test_runs_without_directions_have_no_arrow_and_no_best_metric(write_run, result_of, written):
    paths = [
        write_run(name, optimizer={"name": name}, result=result_of(value), directions=None)
        for name, value in (("adamw", 40.0), ("sgd", 50.0))
    ]
    _, _, page = written(paths)
    words = " ".join(page.words.split())
    assert "perplexity ↓" not in words
    assert "loss ↓" not in words
    assert "best" not in words
    assert "is better" not in words
    _, _, page = written([*paths, write_run("new", optimizer={"name": "lion"}, result=result_of(9.0))])
    words = " ".join(page.words.split())
    assert "perplexity ↓" not in words
    assert "Not every run says which way validation perplexity or validation loss is" in words


def test_directions_are_told_by_arrows_and_not_among_the_facts(two_variants, written):
    _, text, page = written(two_variants)
    assert 'title="lower is better"' in text
    words = " ".join(page.words.split())
    assert "perplexity ↓" in words
    assert "step time ms ↓" in words
    assert "throughput tokens/s ↑" in words
    assert "metric directions" not in page.words


def test_what_was_changed_on_the_way_is_said(write_run, tmp_path):
    run = write_run("changed", seed=3)
    changes = [
        {"step": 40, "at": "", "what": "optimizer.lr", "before": 0.1, "after": 0.02},
        {"step": 40, "at": "", "what": "trainer.steps", "before": 50, "after": 600},
    ]
    (run / "history.json").write_text(json.dumps(changes))
    text = write_report([run], tmp_path / "out", title="t").page.read_text("utf-8")
    told = "went on from step 40 with optimizer.lr = 0.02 (0.1 before), trainer.steps = 600 (50 before)."
    assert f"seed 3, {told}" in text
    (run / "history.json").write_text('[{"step": 40}]')
    with pytest.raises(GraftworkError, match=r"history\.json: expected a list of objects with step"):
        write_report([run], tmp_path / "out", title="t")


def test_runs_that_cannot_be_compared_stand_side_by_side_under_one_sentence_of_why(
    write_run, lines_of, result_of, written
):
    paths = [
        write_run(name, optimizer={"name": name}, trainer={"steps": steps}, metrics=lines_of(value),
                  result=result_of(value, steps=steps))
        for name, value, steps in (("adamw", 40.0, 600), ("sgd", 50.0, 300))
    ]  # fmt: skip
    _, text, page = written(paths)
    (why,) = re.findall(r'<p class="banner">(.*?)</p>', text)
    assert why.startswith("Not ranked, because the runs differ in steps")
    assert text.count(why) == 1
    words = " ".join(page.words.split())
    assert "best" not in words
    assert "40.00" in words
    assert "50.00" in words


def test_a_reader_chooses_between_steps_and_wall_time_without_a_script(two_variants, written):
    _, text, page = written(two_variants)
    choices = re.findall(r'<input type="radio" name="([^"]*)" class="choose-(\d)"( checked)?>([^<]*)', text)
    assert choices[:2] == [
        ("validation-perplexity", "0", " checked", "by step"),
        ("validation-perplexity", "1", "", "by wall time"),
    ]
    for shown in (0, 1):
        assert f"figure:has(.choose-{shown}:checked) .choice-{1 - shown}" in text
    assert page.handlers == []


def test_points_say_their_values_under_the_pointer(two_variants, written):
    _, text, _ = written(two_variants)
    assert "<title>adamw, step 600: 40.20 (40.00 to 40.40 over 3 seeds)</title></circle>" in text
    narrow = "".join(re.findall(r'<div class="narrow">(.*?)</div>', text, flags=re.DOTALL))
    assert "<title>" not in narrow


def test_a_single_run_has_no_bars(write_run, lines_of, result_of, written):
    report, text, _ = written([write_run("r", metrics=lines_of(40.0), result=result_of(40.0))])
    assert 'class="bar"' not in text
    assert "step-time.png" not in {file.name for file in report.figures}


def test_where_the_runs_come_from_stands_at_the_end(write_run, written):
    facts = {
        "command": "graftwork train stories",
        "host": "desk",
        "commit": "abc",
        "uncommitted_changes": False,
    }
    _, _, page = written([write_run("r", environment=facts)])
    words = " ".join(page.words.split())
    told = "command graftwork train stories host desk checkout abc, without uncommitted changes Written by"
    assert told in words


def test_many_differences_are_a_table_of_variants_beside_their_short_names(write_run, result_of, written):
    paths = [
        write_run(
            f"20250101-00000{place}",
            optimizer={
                "name": "adamw",
                "lr": place / 10,
                "betas": [0.9, place / 20],
                "weight_decay": place / 30,
            },
            extra={"task": {"name": "lm-pretrain", "context_length": 64 * place}},
            result=result_of(40.0 + place),
        )
        for place in range(1, 8)
    ]
    _, text, page = written(paths)
    (headline,) = re.findall(r'<p class="headline[^>]*>(.*?)</p>', text)
    assert len(headline) < 150
    assert page.words.index("What differs between the recipes") < page.words.index("Runs and recipes")
    table = text[text.index('<table class="recipe many">') :]
    first_row = re.search(r"<tbody>\s*<tr>(.*?)</tr>", table, flags=re.DOTALL)
    assert first_row is not None
    assert re.sub(r"<[^>]*>|\s", " ", first_row[1]).split()[:2] == ["A", "0.1"]


@pytest.mark.parametrize("refused", ["mkdir", "savefig", "write_bytes"])
def test_a_full_disk_is_one_sentence_and_leaves_the_report_of_before(
    refused, two_variants, tmp_path, monkeypatch
):
    pytest.importorskip("matplotlib")
    output = tmp_path / "out"
    write_report(two_variants, output, title="before")
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    where = "matplotlib.figure.Figure" if refused == "savefig" else "pathlib.Path"
    with monkeypatch.context() as patched:
        patched.setattr(f"{where}.{refused}", refuse)
        with pytest.raises(
            GraftworkError, match=rf"report {output}: not written: .*disk is full; [\d,.]+ MB are free"
        ):
            write_report(two_variants, output, title="after")
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    assert not (output / "report.partial").exists()
    write_report(two_variants, output, title="after")
    assert "after" in (output / "report.html").read_text()


def test_names_are_shown_with_what_nobody_would_see_escaped(write_run, written):
    run = write_run("a\u202etxt\nb")
    _, text, page = written([run], title="a\u202etxt\nb")
    assert "\u202e" not in text
    assert "a\\u202etxt\\nb" in page.words
