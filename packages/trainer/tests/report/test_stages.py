"""Runs of several stages in a report: curves one after another, seams, breaks, and what each stage was."""

from __future__ import annotations

import json
import math

import pytest

from graftwork.toml import dumps
from graftwork_trainer.report import group_runs, print_table, read_run, write_report
from graftwork_trainer.report.stage_table import stage_tables
from graftwork_trainer.report.stages import aligned

GENERAL = {"task": {"name": "lm-pretrain", "data": "prose"}, "optimizer": {"name": "adamw", "lr": 0.1}}
MINE = {"task": {"name": "lm-pretrain", "data": "mine"}, "optimizer": {"name": "gwt-adamw", "lr": 0.01}}


@pytest.fixture
def write_staged(write_run, lines_of, result_of):
    """A run of two stages, of 600 steps and of 200 unless said otherwise."""

    def write(name, *, stages=(GENERAL, MINE), seed=0, first_steps=600, perplexity=40.0, begun=2, ended=True):
        sections = [{"trainer": {"name": "standard", "seed": seed}, **stage} for stage in stages]
        whole = write_run(name, result={"status": "finished", "steps": 800} if ended else None)
        names = ("general", "mine")
        recipe = {
            "stages": [{"name": one, **table} for one, table in zip(names, sections, strict=True)],
        }
        (whole / "recipe.toml").write_text(dumps(recipe))
        steps = (range(100, first_steps + 1, 100), (100, 200))
        for number in range(begun):
            folder = f"{name}/stages/{number + 1}-{names[number]}"
            at_end = perplexity + (0 if number else 100)
            taken = max(steps[number])
            stage = write_run(
                folder,
                metrics=lines_of(at_end, steps[number]),
                result=result_of(at_end, steps=taken, wall_seconds=taken * 0.1),
            )
            (stage / "recipe.toml").write_text(dumps(sections[number]))
        return whole

    return write


def test_curves_stand_one_after_another(write_staged):
    run = read_run(write_staged("staged"))
    assert [(stage.name, stage.first_step, stage.first_second) for stage in run.stages] == [
        ("general", 0, 0.0),
        ("mine", 600, 60.0),
    ]
    curve = run.curves["validation/perplexity"]
    assert curve.steps == (100, 200, 300, 400, 500, 600, 650, 700, 800)
    assert curve.seconds[-2:] == (68.0, 76.0)
    # Perplexities of other data are broken apart, half way between the last and the first.
    assert [step for step, value in zip(curve.steps, curve.values, strict=True) if math.isnan(value)] == [650]


def test_the_same_task_and_data_go_on_without_a_break(write_staged):
    another_optimizer = {**GENERAL, "optimizer": MINE["optimizer"]}
    run = read_run(write_staged("staged", stages=(GENERAL, another_optimizer)))
    assert run.curves["train/loss"].steps == (100, 200, 300, 400, 500, 600, 700, 800)


def test_other_facts_of_the_data_break_too(write_staged):
    whole = write_staged("staged", stages=(GENERAL, GENERAL))
    file = whole / "stages/2-mine/environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "data": {"rows_sha256": "ab"}}))
    assert any(map(math.isnan, read_run(whole).curves["train/loss"].values))


def test_final_values_are_the_last_stages_and_what_it_does_not_record_has_none(write_staged):
    whole = write_staged("staged")
    file = whole / "stages/1-general/metrics.jsonl"
    file.write_text(file.read_text() + json.dumps({"step": 600, "validation/bits": 3.0}) + "\n")
    run = read_run(whole)
    assert run.final("validation/perplexity") == 40.0
    assert run.final("validation/bits") is None
    assert run.curves["validation/bits"].steps == (600,)
    assert (run.steps, run.result.step_seconds.median) == (800, 0.08)


def test_a_run_that_is_on_its_way(write_staged):
    run = read_run(write_staged("staged", begun=1, ended=False))
    assert (run.status, run.steps, len(run.stages)) == ("unfinished", 600, 1)
    nothing = read_run(write_staged("nothing", begun=0, ended=False))
    assert (nothing.status, nothing.steps, nothing.curves) == ("unfinished", 0, {})


def test_seeds_that_stopped_early_are_moved_to_where_all_have_begun(write_staged):
    runs = [read_run(write_staged("a", seed=1, first_steps=300)), read_run(write_staged("b", seed=2))]
    (variant,) = aligned(group_runs(runs))
    early, late = variant.runs
    assert (early.seed, runs[0].stages[1].first_step, early.stages[1].first_step) == (1, 300, 600)
    assert early.stages[1].first_second == late.stages[1].first_second == 60.0
    assert early.curves["train/loss"].steps[-1] == late.curves["train/loss"].steps[-1] == 800


def test_variants_share_steps_and_not_seconds(write_staged):
    runs = [write_staged("a", first_steps=300), write_staged("b", stages=(GENERAL, GENERAL))]
    short, long = (variant.runs[0].stages[1] for variant in aligned(group_runs(map(read_run, runs))))
    assert short.first_step == long.first_step == 600
    assert (short.first_second, long.first_second) == (30.0, 60.0)


def test_runs_with_stages_and_without_are_told_apart_by_what_differs(
    write_staged, write_run, lines_of, result_of
):
    plain = write_run("plain", metrics=lines_of(41.0), result=result_of(41.0))
    runs = [plain, write_staged("staged"), write_staged("other", stages=(MINE, MINE), perplexity=39.0)]
    variants = group_runs(map(read_run, runs))
    assert [variant.label for variant in variants] == ["plain", "staged", "other"]
    assert [variant.meaning for variant in variants] == [
        "adamw",
        "general + mine: adamw, gwt-adamw, general.task.data=prose, mine.task.data=mine",
        "general + mine: gwt-adamw, task.data=mine",
    ]
    labels = [variant.label for variant in group_runs(map(read_run, runs[:2]))]
    assert labels == ["adamw", "general + mine: adamw, gwt-adamw"]


def test_the_table_of_stages_says_what_changed_and_what_each_reached(write_staged):
    (table,) = stage_tables(group_runs([read_run(write_staged("staged"))]))
    general, mine = ([str(cell.text) for cell in row] for row in table.rows)
    names = "task = lm-pretrain<br>optimizer = adamw<br>trainer = standard"
    assert general == ["general", names, "600", "1.000 min", "perplexity 140.0<br>loss 14.00"]
    changes = "task.data = mine<br>optimizer = gwt-adamw"
    assert mine == ["mine", changes, "200", "20.00 s", "perplexity 40.00<br>loss 4.000"]


def test_the_page_marks_the_seams_and_says_what_they_are(write_staged, tmp_path, capsys):
    runs = [write_staged(f"staged-{seed}", seed=seed, first_steps=300 * seed) for seed in (1, 2)]
    report = write_report(runs, tmp_path / "out", title="stages")
    page = report.page.read_text()
    assert page.count(">general<") > 4
    assert page.count(">mine<") > 4
    assert "Dotted: where a stage begins." in page
    assert "A line is broken where a stage with another task" in page
    assert "its last stage&#39;s; wall time is that of all" in page
    assert "<h2>Stages</h2>" in page
    print_table([read_run(run) for run in runs])
    assert "2 seeds" in capsys.readouterr().out


def test_a_page_without_stages_speaks_of_none(two_variants, tmp_path):
    page = write_report(two_variants, tmp_path / "out", title="plain").page.read_text()
    assert "<h2>Stages" not in page
    assert "stage begins" not in page
    assert "last stage" not in page


def test_numbers_of_two_kinds_are_shown_whole(write_staged, written):
    _, _, page = written([write_staged("staged")])
    words = " ".join(page.words.split())
    assert "A line is broken where a stage with another task" in words
    assert "Dotted: where a stage begins." in words
    assert "axis cut at" not in words
