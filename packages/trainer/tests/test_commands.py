"""train, compare, report and reproduce as a user calls them."""

from __future__ import annotations

import json

import pytest

from graftwork import Finding
from graftwork.overrides import parse_over
from graftwork_trainer.commands.compare import _label


def one_sentence(result):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("graftwork: error: ")
    return last


def test_train_ends_with_a_table_and_a_report(command, tmp_path):
    result = command("train", "toy.toml")
    assert result.returncode == 0, result.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("toy-")
    assert f"report: runs/{run.name}/report.html" in result.stdout
    assert (run / "report.html").stat().st_size > 10_000
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_dry_run_counts_without_training(command, tmp_path):
    result = command("train", "toy.toml", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "parameters       131" in result.stdout
    assert "optimizer state  0.0 MiB" in result.stdout
    assert not (tmp_path / "runs").exists()


def test_mistakes_of_train_are_one_sentence(command, tmp_path):
    assert "train needs a RECIPE" in one_sentence(command("train"))
    assert "has no recipe.toml" in one_sentence(command("train", "--resume", "nowhere"))
    missing = one_sentence(
        command("train", "toy.toml", "--out", "m", "--set", "task.missing_file=/no/such/file")
    )
    assert "/no/such/file: No such file or directory" in missing
    assert json.loads((tmp_path / "m" / "result.json").read_text())["status"] == "failed"
    assert "holds a run already; continue it with" in one_sentence(command("train", "toy.toml", "--out", "m"))


def test_a_broken_checkpoint_is_one_sentence_and_the_one_before_still_loads(command, tmp_path):
    assert command("train", "--no-report", "toy.toml", "--out", "run").returncode == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    newest = max(checkpoints.iterdir())
    (newest / ".metadata").write_bytes(b"nonsense")
    broken = one_sentence(command("train", "--no-report", "--resume", "run"))
    assert "step-000012: cannot be read" in broken
    assert "remove that folder to go on from step 9" in broken
    newest.rename(tmp_path / "set-aside")
    assert command("train", "--no-report", "--resume", "run").returncode == 0


def test_compare_trains_every_variant_and_seed_and_goes_on_where_it_stopped(command, tmp_path):
    arguments = ["compare", "toy.toml", "--over", "optimizer.name=adamw,sgd", "--seeds", "2", "--out", "both"]
    first = command(*arguments)
    assert first.returncode == 0, first.stderr
    names = sorted(path.parent.name for path in (tmp_path / "both").glob("*/result.json"))
    assert names == ["adamw-seed0", "adamw-seed1", "sgd-seed0", "sgd-seed1"]
    for variant in ("adamw", "sgd"):
        assert variant in first.stdout
    assert "±" in first.stdout
    assert (tmp_path / "both" / "report.html").is_file()
    assert list((tmp_path / "both" / "plots").glob("*.png"))
    (tmp_path / "both" / "sgd-seed1" / "result.json").unlink()
    again = command(*arguments)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("already trained") == 3
    other = one_sentence(command(*arguments, "--set", "trainer.steps=13"))
    assert "was trained there with another recipe" in other


def test_an_option_switched_off_stays_off_in_the_runs(command, tmp_path):
    result = command(
        "compare",
        "toy.toml",
        "--over",
        "trainer.clip_norm=none,0.5",
        "--out",
        "clips",
        "--set",
        "trainer.steps=2",
    )
    assert result.returncode == 0, result.stderr
    recorded = {
        path.parent.name: path.read_text() for path in (tmp_path / "clips").glob("clip*/metrics.jsonl")
    }
    assert "train/gradient_norm" not in recorded["clip_norm-none-seed0"]
    assert "train/gradient_norm" in recorded["clip_norm-0.5-seed0"]


def test_a_failing_variant_does_not_take_the_others_along(command, tmp_path):
    result = command(
        "compare",
        "toy.toml",
        "--over",
        "task.infinite_from_batch=0,3",
        "--out",
        "mixed",
        "--set",
        "trainer.steps=6",
    )
    assert "infinite_from_batch-3-seed0 failed" in one_sentence(result)
    assert "report: mixed/report.html" in result.stdout
    page = (tmp_path / "mixed" / "report.html").read_text()
    assert "the training loss became nan" in page


def test_a_mistake_in_one_variant_is_found_before_any_trains(command, tmp_path):
    result = command("compare", "toy.toml", "--over", "optimizer.lr=0.1,fast", "--out", "never")
    assert result.returncode == 2
    assert "optimizer.lr (--over optimizer.lr=fast): expected float, got 'fast' (string)" in result.stderr
    assert not (tmp_path / "never").exists()


def test_report_puts_runs_side_by_side(command, tmp_path):
    for name in ("adamw", "sgd"):
        assert (
            command(
                "train", "--no-report", "toy.toml", "--out", name, "--set", f"optimizer.name={name}"
            ).returncode
            == 0
        )
    result = command("report", "adamw", "sgd", "--out", "page")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "page" / "report.html").is_file()
    assert str(tmp_path / "nowhere").rsplit("/", 1)[1] in one_sentence(command("report", "nowhere"))


def test_reproduce_prints_measured_beside_published(command, tmp_path):
    result = command("reproduce", "toy", "--set", "factor=2.0")
    assert result.returncode == 0, result.stderr
    assert "+10.00%" in result.stdout
    findings = json.loads((tmp_path / "reproductions" / "toy" / "findings.json").read_text())
    assert Finding(**findings[0]) == Finding("two times factor", 4.0 / 1.1, 4.0, "arithmetic")
    wrong = command("reproduce", "toy", "--set", "factor=x")
    assert wrong.returncode == 2
    assert "reproduction.factor: expected float, got 'x'" in wrong.stderr
    misspelt = command("reproduce", "toy", "--set", "factr=1")
    assert misspelt.returncode == 2
    assert "did you mean 'factor'" in misspelt.stderr


@pytest.mark.parametrize(
    ("over", "label"),
    [
        ("optimizer.name=a,b", "a"),
        ("optimizer.lr=1e-3,2", "lr-0.001"),
        ("task.data=/tmp/x y,z", "data--tmp-x-y"),
    ],
)
def test_labels_are_file_names(over, label):
    assert _label([parse_over(over)[0]]) == label
