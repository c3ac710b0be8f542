"""``graftwork verify`` says in words what is whole, what is damaged, and whether a run resumes exactly.

Reached from here: ``commands/verify.py``.
"""

from __future__ import annotations

import dataclasses
import os
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
        ("recipe.toml", "accumulate", "accumulates", "no option 'accumulates'"),
    ],
)
def test_what_would_make_other_bits_is_said(described, file, old, new, reason):
    edit(described / file, old, new)
    finding = told(described)["resumes exactly here"]
    assert finding.told.startswith("no, because ")
    assert reason in finding.told
    assert finding.whole


def test_data_that_was_changed_in_its_place_is_said(described, monkeypatch):
    from graftwork_toy.tasks import Regression

    monkeypatch.setattr(Regression, "facts", lambda self: {"rows": "others"})
    told_of = told(described)["resumes exactly here"].told
    assert told_of == "no, because rows of the data was 'without end' and is 'others'"


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("history.json", "[3]", "expected a list of objects with step, what, before, after and at"),
        ("environment.json", "[]", "expected a JSON object, found list"),
        ("metrics.jsonl", '{"step": 3, "train/loss": NaN}\n', "NaN is no JSON"),
    ],
)
def test_what_is_json_and_no_file_of_a_run_is_damaged(described, file, content, sentence):
    (described / file).write_text(content)
    found = told(described)
    assert not found[file].whole
    assert sentence in found[file].told
    # Training goes on without the metrics of before, and with no other history than it can read.
    assert found["resumes exactly here"].told.startswith("yes" if file == "metrics.jsonl" else "no, because")


@pytest.mark.parametrize("file", ["history.json", "checkpoints/step-000012/index.json"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(train, described, file):
    (described / file).unlink()
    os.mkfifo(described / file)
    assert any(finding.what in file and "is no file" in finding.told for finding in verify_run(described))
    with pytest.raises(GraftworkError, match=f"{file.rpartition('/')[2]} is no file"):
        train(resume=True)


def test_the_newest_checkpoint_is_that_of_the_latest_step(described):
    newest = describe_renamed(described, 999_999, 1_000_000)
    assert newest.told == "yes, from step 1000000, with one process"


def describe_renamed(run, *steps):
    """What is said of a run whose checkpoints are those of other steps."""
    from graftwork_trainer.checkpoint.index import Index, folder_name

    folders = sorted((run / "checkpoints").glob("step-*"))
    for folder, step in zip(folders, steps, strict=True):
        index = Index.from_bytes((folder / "index.json").read_bytes())
        values = {**index.values, "progression": {**index.values["progression"], "step": step}}
        (folder / "index.json").write_bytes(dataclasses.replace(index, step=step, values=values).to_bytes())
        folder.rename(run / "checkpoints" / folder_name(step))
    return told(run)["resumes exactly here"]


def test_a_stream_that_does_not_follow_from_the_seed_is_said(train, tmp_path):
    train("task.name=loader", "task.order=repeated")
    assert "in the order of its RandomSampler" in told(tmp_path / "run")["resumes exactly here"].told


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
