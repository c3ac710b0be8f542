"""``graftwork verify`` says in words what is whole, what is damaged, and whether a run resumes exactly."""

from __future__ import annotations

import random

import pytest

from graftwork import GraftworkError
from graftwork_trainer.verification import verify_run


@pytest.fixture
def run(train, tmp_path):
    train()
    (tmp_path / "run" / "history.json").write_text("[]\n")
    return tmp_path / "run"


def told(run):
    return {finding.what: finding for finding in verify_run(run)}


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def described(run):
    """With the environment that it really ran in, which trainings in these tests do not record."""
    from graftwork_trainer.environment import describe_environment
    from graftwork_trainer.plain_json import read_json, to_json

    kept = read_json(run / "environment.json")
    (run / "environment.json").write_text(to_json({**describe_environment(), **kept}))
    return run


def test_a_run_that_is_whole_resumes_exactly(described):
    found = told(described)
    assert all(finding.whole for finding in found.values())
    assert found["checkpoints/step-000012"].told.startswith("whole, one file of 0.0 MB as written")
    assert found["resumes exactly here"].told == "yes, from step 12, with one process"


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("recipe.toml", "accumulate = 1", "accumulate = 2", "trainer.accumulate was 1 and is 2"),
        ("environment.json", '"torch": "', '"torch": "0.', "torch was 0."),
        ("environment.json", '"threads": ', '"threads": 9', "threads was 9"),
        ("environment.json", "without end", "others", "rows of the data was 'without end' and is 'others'"),
    ],
)
def test_what_would_make_other_bits_is_said(described, file, old, new, reason):
    edit(described / file, old, new)
    finding = told(described)["resumes exactly here"]
    assert finding.told.startswith("no, because ")
    assert reason in finding.told
    assert finding.whole


def test_a_stream_that_does_not_follow_from_the_seed_is_said(train, tmp_path):
    train("task.name=loader")
    assert "shuffling DataLoader" in told(tmp_path / "run")["resumes exactly here"].told


@pytest.mark.parametrize(
    "file",
    [
        "recipe.toml",
        "environment.json",
        "metrics.jsonl",
        "history.json",
        "result.json",
        "checkpoints/step-000012/index.json",
        "checkpoints/step-000012/shard-00000.safetensors",
    ],
)
def test_each_damaged_file_is_named(run, file):
    data = bytearray((run / file).read_bytes())
    for position in random.Random(1).choices(range(len(data)), k=9):
        data[position] = 0xFF
    (run / file).write_bytes(data)
    damaged = [finding for finding in verify_run(run) if not finding.whole]
    assert any(finding.what in file for finding in damaged)


def test_what_is_no_run_is_one_sentence(tmp_path):
    with pytest.raises(GraftworkError, match=r"is no run: it has no recipe\.toml"):
        list(verify_run(tmp_path))
    with pytest.raises(GraftworkError, match="is no run: there is no such directory"):
        list(verify_run(tmp_path / "nowhere"))


def test_the_command_says_it_and_its_exit_code_too(command, tmp_path):
    assert command("train", "--no-report", "toy.toml", "--out", "run").returncode == 0
    whole = command("verify", "run")
    assert (whole.returncode, whole.stderr) == (0, "")
    assert "resumes exactly here: yes, from step 12" in whole.stdout
    shard = tmp_path / "run/checkpoints/step-000012/shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    damaged = command("verify", "run")
    assert damaged.returncode == 1
    assert "DAMAGED checkpoints/step-000012: shard-00000.safetensors has" in damaged.stdout
    assert "resumes exactly: no, because the newest checkpoint is damaged" in damaged.stdout
