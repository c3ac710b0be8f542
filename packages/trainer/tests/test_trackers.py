"""The metrics file after kills and resumes."""

from graftwork_trainer.trackers import JsonLines


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
