"""The metrics file after kills and resumes, and TensorBoard where it is installed."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import pytest

from graftwork import GraftworkError
from graftwork_trainer.going_on import GoingOn
from graftwork_trainer.recording import Recording
from graftwork_trainer.trackers import JsonLines, TensorBoard


def test_lines_beyond_the_checkpoint_and_torn_lines_are_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = JsonLines(path, 0)
    for step in (1, 2, 3):
        first.record(step, {"train/loss": 1 / step})
    first.close()
    path.write_text(path.read_text() + '{"step": 4, "train/l')
    resumed = JsonLines(path, 2)
    assert resumed.last["step"] == 2
    resumed.record(3, {"train/loss": 9.0})
    resumed.close()
    assert path.read_text().splitlines()[-1] == '{"step": 3, "train/loss": 9.0}'
    assert len(path.read_text().splitlines()) == 3


def test_the_lines_of_before_are_not_held_in_memory(tmp_path):
    path = tmp_path / "metrics.jsonl"
    line = '{"step": 1, "train/loss": 0.5, "note": "' + "x" * 1000 + '"}\n'
    path.write_text(line * 8000)
    tracemalloc.start()
    try:
        resumed = JsonLines(path, 1)
        resumed.record(2, {"train/loss": 9.0})
        path.unlink()
        resumed.record(3, {"train/loss": 9.0})
        resumed.close()
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert path.read_text() == line * 8000 + "".join(
        f'{{"step": {step}, "train/loss": 9.0}}\n' for step in (2, 3)
    )


def test_lines_of_before_that_are_removed_before_there_is_room_for_them_are_kept(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    resumed = JsonLines(path, 1)
    path.unlink()
    (tmp_path / "metrics.partial").mkdir()  # in the way, as a full disk is
    with pytest.raises(OSError, match="Is a directory"):
        resumed.record(2, {})
    (tmp_path / "metrics.partial").rmdir()
    resumed.record(3, {})
    resumed.close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


@pytest.mark.parametrize("seconds", ["null", '"soon"', "NaN", "[1]", "1" + "0" * 400])
def test_seconds_that_are_none_end_no_training(seconds, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1, "seconds": {seconds}}}\n')
    recording = Recording(tmp_path, GoingOn(tmp_path, shown=True))
    recording.trackers = []
    assert recording.open(1, {}) == 0.0
    recording.close()


def test_scalars_are_written_for_tensorboard(tmp_path):
    tracker = TensorBoard()
    tracker.open(tmp_path, 0, {})
    tracker.record(1, {"train/loss": 0.5})
    tracker.close()
    (file,) = (tmp_path / "tensorboard").glob("events.*")
    assert b"train/loss" in file.read_bytes()


def test_without_tensorboard_the_record_is_all_there_is(tmp_path):
    code = (
        "import sys; sys.modules['tensorboard'] = None; from pathlib import Path; "
        "from graftwork_trainer.trackers import JsonLines, TensorBoard; folder = Path(sys.argv[1]); "
        "trackers = [JsonLines(folder / 'metrics.jsonl', 0), TensorBoard()]; "
        "trackers[1].open(folder, 0, {}); "
        "[t.record(step, {'train/loss': 0.5}) for t in trackers for step in (1, 2)]; "
        "[t.close() for t in trackers]"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert (run.stdout, run.stderr) == ("", "")
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_recipe_chooses_trackers_and_a_resumed_run_goes_on_with_them(train, tmp_path):
    more = 'trainer.trackers=[{name = "jsonl", path = "more.jsonl"}]'
    train(more, "trainer.steps=6")
    trained = train(more, "trainer.steps=12", resume=True)
    record = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert (tmp_path / "run" / "more.jsonl").read_text() == record
    assert trained.lines()[-1]["step"] == 12
    assert not (tmp_path / "run" / "tensorboard").exists()


@pytest.mark.parametrize("event", ["open", "record", "close"])
def test_a_tracker_that_fails_is_told_once_and_training_goes_on(train, capsys, event):
    trained = train(f'trainer.trackers=[{{name = "failing", event = "{event}"}}]')
    assert trained.result()["status"] == "finished"
    told = "graftwork: tracker failing failed, which ends no training: RuntimeError: nobody is there\n"
    assert capsys.readouterr().err.count(told) == 1


def test_the_record_is_no_further_file(train):
    with pytest.raises(GraftworkError, match=r"tracker/jsonl: path: metrics\.jsonl is written without it"):
        train('trainer.trackers=[{name = "jsonl", path = "metrics.jsonl"}]')
