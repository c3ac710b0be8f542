"""train, report and reproduce as a user calls them.

Reached from here: ``commands/train.py``, ``plugin.py``.
"""

from __future__ import annotations

import json

from graftwork import Finding


def one_sentence(result):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("graftwork: error: ")
    return last


def test_train_ends_with_a_table_and_a_report(command, tmp_path):
    result = command("train", "toy.toml", launcher=())
    assert result.returncode == 0, result.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("toy-")
    assert f"report: runs/{run.name}/report.html" in result.stdout
    assert (run / "report.html").stat().st_size > 10_000
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_tells_the_options_of_the_recipe_as_the_command_line_has_it(command):
    told = command("train", "toy.toml", "--set", "trainer.seed=7", "--help").stdout
    assert told.startswith("usage: graftwork train")
    assert "\n    seed = 7  whole number, default 0\n" in told
    assert "\n    keep_checkpoints  whole number, default 2\n        how many checkpoints stay.\n" in told
    assert max(map(len, told.splitlines())) <= 80


def test_dry_run_counts_without_training(command, tmp_path):
    result = command("train", "toy.toml", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "parameters       131" in result.stdout
    assert "optimizer state  0.0 MiB" in result.stdout
    assert not (tmp_path / "runs").exists()


def test_dry_run_of_a_fused_optimizer_counts_its_state(command):
    dry = command("train", "toy.toml", "--dry-run", "--set", "optimizer.fused=true")
    assert dry.returncode == 0, dry.stderr
    assert "optimizer state" in dry.stdout


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
    (newest / "index.json").write_bytes(b"nonsense")
    broken = one_sentence(command("train", "--no-report", "--resume", "run"))
    assert "step-000012: index.json is damaged" in broken
    assert "remove that folder to go on from step 9" in broken
    newest.rename(tmp_path / "set-aside")
    assert command("train", "--no-report", "--resume", "run").returncode == 0


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
