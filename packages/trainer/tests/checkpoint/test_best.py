"""The weights of the best evaluation: kept beside the newest checkpoint; early stopping ends with them."""

from __future__ import annotations

import pytest
import torch

from graftwork import GraftworkError
from graftwork_trainer.checkpoint import open_checkpoint, writing
from graftwork_trainer.report import read_run
from graftwork_trainer.verification import verify_run

RISING = ("trainer.patience=2", "trainer.steps=100", "task.validation_loss_rises=true")


def kept(trained):
    """The names of the best weights that lie in a run."""
    return sorted(path.name for path in trained.run.checkpoints.directory.glob("best-*"))


def weights_in(trained, name):
    return open_checkpoint(trained.run.checkpoints.directory / name).part("model")["model"]


def has(model, weights):
    return all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def validation(trained):
    """What was recorded of each evaluation, by step."""
    return {
        line["step"]: {name: value for name, value in line.items() if name.startswith("validation/")}
        for line in trained.lines()
        if "validation/loss" in line
    }


def test_early_stopping_ends_with_the_best_weights_and_their_metrics(train):
    trained = train(*RISING)
    result = trained.result()
    assert (result["status"], result["steps"], result["best_step"]) == ("stopped-early", 12, 4)
    assert result["metrics"] == trained.run.metrics == validation(trained)[4]
    assert read_run(trained.run.directory).result.reason.endswith("are those of step 4, the best")
    assert kept(trained) == ["best-000004"]
    assert has(trained.model, weights_in(trained, "best-000004"))
    assert not has(trained.model, weights_in(trained, "step-000012"))


@pytest.mark.parametrize("optimizer", ["sgd", "beside"])
def test_artefacts_are_of_the_best_weights(train, monkeypatch, optimizer):
    import graftwork_trainer.standard as standard

    shown = []
    monkeypatch.setattr(
        standard.StandardProcedure, "artefacts", lambda self, model, folder: shown.append(model.state_dict())
    )
    trained = train(*RISING, f"optimizer.name={optimizer}")
    assert has(trained.model, shown[0])
    assert has(trained.model, weights_in(trained, "best-000004"))


def test_a_finished_run_tells_of_its_last_weights_and_says_which_were_best(train):
    trained = train("task.validation_loss_rises=true")
    assert trained.result()["best_step"] == 4
    assert trained.result()["metrics"] == validation(trained)[12]
    assert has(trained.model, weights_in(trained, "step-000012"))
    assert kept(trained) == ["best-000004"]


def test_only_the_best_of_all_stays(train):
    assert kept(train()) == ["best-000012"]


def test_more_patience_goes_on_from_the_newest_as_if_nothing_had_stopped(train, assert_same_end, tmp_path):
    settings = ("task.validation_loss_rises=true", "trainer.steps=18")
    whole = train(*settings, directory="whole")
    assert train("trainer.patience=1", *settings).result()["status"] == "stopped-early"
    longer = train("trainer.patience=9", *settings, resume=True)
    assert longer.result()["status"] == "finished"
    assert_same_end(whole.run.directory, longer.run.directory)


def test_what_came_after_the_newest_checkpoint_is_forgotten(train):
    """Ended between the best of step 8 and the checkpoint of step 9: step 6 knows that of step 4 alone."""
    settings = ("trainer.patience=1", "trainer.log_every=100")
    with pytest.raises(GraftworkError):
        train(*settings, "task.ends_after=8")
    resumed = train(
        *settings, "task.validation_loss_rises=true", resume=True, allow=("validation_loss_rises",)
    )
    assert (resumed.result()["status"], resumed.result()["best_step"]) == ("stopped-early", 4)
    assert kept(resumed) == ["best-000004"]
    assert has(resumed.model, weights_in(resumed, "best-000004"))


def test_resuming_what_stopped_early_gives_the_best_again(train):
    first = train(*RISING)
    again = train(*RISING, resume=True)
    assert again.run.metrics == first.result()["metrics"]
    assert has(again.model, weights_in(first, "best-000004"))


@pytest.mark.parametrize(("direction", "best"), [("lower", 12), ("higher", 4)])
def test_the_metric_that_is_named_judges_by_its_own_direction(train, direction, best):
    trained = train(
        "task.name=drawing", "task.metric=error", f"task.directions={direction}", "trainer.best_by=error"
    )
    assert trained.result()["best_step"] == best


def test_patience_waits_for_the_metric_that_is_named(train):
    trained = train(
        "task.name=drawing",
        "task.metric=error",
        "task.directions=higher",
        "trainer.best_by=error",
        "trainer.patience=1",
    )
    assert (trained.result()["status"], trained.result()["steps"]) == ("stopped-early", 8)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("trainer.best_by=root",), "best_by is 'root', of which the task does not say which way is better"),
        (
            ("task.name=rows", "trainer.best_by=agreemint"),
            "best_by is 'agreemint', .*; it says so of loss, agreement",
        ),
        (
            ("task.name=drawing", "task.metric=error", "trainer.patience=1"),
            r"patience waits for a better validation loss, .*called 'loss' \(error\); leave patience",
        ),
    ],
)
def test_a_metric_that_nothing_can_be_judged_by_is_refused_by_name(train, settings, sentence):
    with pytest.raises(GraftworkError, match=sentence):
        train(*settings)


def test_another_metric_begins_to_judge_anew(train):
    train("task.name=rows", "trainer.steps=6")
    trained = train("task.name=rows", "trainer.best_by=agreement", resume=True)
    agreements = {
        step: line["validation/agreement"] for step, line in validation(trained).items() if step > 6
    }
    assert trained.result()["best_step"] == max(agreements, key=agreements.__getitem__)


def test_best_weights_that_cannot_be_written_end_no_training(train, monkeypatch, capsys):
    write = writing.write_shard

    def full(path, tensors):
        if path.parent.name.startswith("best-"):
            raise OSError(28, "No space left on device")
        return write(path, tensors)

    monkeypatch.setattr(writing, "write_shard", full)
    trained = train(*RISING)
    assert (trained.result()["status"], trained.result()["best_step"]) == ("stopped-early", None)
    assert trained.result()["metrics"] == validation(trained)[12]
    assert capsys.readouterr().err.count("best-000004: not written: the disk is full") == 1


def test_best_weights_that_are_damaged_are_told_and_the_last_taken(train, capsys):
    trained = train(*RISING)
    shard = trained.run.checkpoints.directory / "best-000004" / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    findings = {finding.what: finding for finding in verify_run(trained.run.directory)}
    assert not findings["checkpoints/best-000004"].whole
    assert "damaged" in findings["checkpoints/best-000004"].told
    again = train(*RISING, resume=True)
    assert "the last weights take the place of the best" in capsys.readouterr().err
    assert has(again.model, weights_in(trained, "step-000012"))


def test_verify_reads_the_best_weights(train):
    trained = train()
    findings = {finding.what: finding for finding in verify_run(trained.run.directory)}
    assert findings["checkpoints/best-000012"].whole
    assert "weights are finite" in findings["checkpoints/best-000012"].told
