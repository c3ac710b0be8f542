"""The standard trainer on a toy task, in this process.

Reached from here: ``finite.py``, ``procedure.py``, ``progression.py``, ``step_rule.py``, ``timing.py``.
"""

from __future__ import annotations

import json
import math

import pytest
import torch

from graftwork import GraftworkError, Interrupted, Run


def weights(trained):
    return [parameter.detach().clone() for parameter in trained.model.parameters()]


def assert_same_bits(one, other):
    assert len(one) == len(other) > 0
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_run_leaves_its_recipe_metrics_checkpoints_and_result(train):
    trained = train()
    directory = trained.run.directory
    lines = trained.lines()
    assert [line["step"] for line in lines if "train/loss" in line] == [2, 3, 4, 6, 8, 9, 10, 12]
    assert [line["step"] for line in lines if "validation/loss" in line] == [4, 8, 12]
    logged = next(line for line in lines if "train/loss" in line)
    assert {
        "train/learning_rate",
        "train/gradient_norm",
        "train/rows_per_second",
        "train/root",
    } <= logged.keys()
    assert trained.run.checkpoints.steps() == [9, 12]
    result = trained.result()
    assert (result["status"], result["steps"], result["unit"]) == ("finished", 12, "rows")
    assert result["parameters"] == 4 * 16 + 16 + 16 * 3 + 3
    # AdamW keeps two moments of every parameter and one float32 step count of each of the four tensors.
    assert result["optimizer_state_bytes"] == 4 * (2 * result["parameters"] + 4)
    assert 0 < result["optimizer_step_seconds"]["median"] < result["step_seconds"]["median"]
    assert result["metrics"]["validation/loss"] == lines[-1]["validation/loss"]
    environment = json.loads((directory / "environment.json").read_text())
    assert (environment["world_size"], environment["data"]) == (1, {"rows": "without end"})
    assert [one["tensors"] for one in environment["learning_rates"]] == [4]
    assert list((directory / "tensorboard").glob("events.*"))


def test_the_run_directory_keeps_the_contract_of_a_run(train):
    assert isinstance(train().run, Run)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(train):
    first, second = train(directory="a"), train(directory="b")
    assert_same_bits(weights(first), weights(second))
    other = train("trainer.seed=1", directory="c")
    assert not torch.equal(weights(first)[0], weights(other)[0])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "evolution", "twice", "sharing", "matrices"])
def test_resumed_training_equals_uninterrupted_training_bit_for_bit(train, optimizer):
    settings = [f"optimizer.name={optimizer}", "trainer.accumulate=2", "trainer.clip_norm=0.1"]
    whole = train(*settings, directory="whole")
    # The schedule spans all 12 steps in both, so the first part is ended by its batches, not by a smaller
    # `steps`.
    with pytest.raises(GraftworkError, match="batches ended"):
        train(*settings, "task.ends_after=15", directory="parts")
    rest = train(*settings, directory="parts", resume=True)
    assert_same_bits(weights(whole), weights(rest))

    def losses(trained):
        return [(line["step"], line["train/loss"]) for line in trained.lines() if "train/loss" in line]

    assert losses(whole) == losses(rest)
    # Two micro-batches a step.
    assert whole.result()["units"] == rest.result()["units"] == 12 * 2 * whole.task.batch_size


def test_accumulation_averages_over_micro_batches(train):
    # Without dropout, two micro-batches of 8 must move the weights as their mean gradient does.
    trained = train(
        "trainer.steps=1", "trainer.accumulate=2", "task.dropout=0.0", "optimizer.name=sgd",
        "trainer.schedule=constant", "trainer.clip_norm=none", "optimizer.lr=0.1",
    )  # fmt: skip
    from graftwork_toy.tasks import Regression

    torch.manual_seed(0)
    task = Regression(dropout=0.0)
    model = task.build_model()
    batches = task.batches("train", rank=0, world_size=1, seed=0)
    losses = [task.loss(model, next(batches))[0] for _ in range(2)]
    (sum(losses) / 2).backward()
    for expected, parameter in zip(trained.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(expected, parameter - 0.1 * parameter.grad)


def test_clipping_bounds_the_update(train):
    trained = train(
        "trainer.steps=1", "trainer.clip_norm=0.001", "optimizer.name=sgd", "optimizer.lr=1.0",
        "trainer.schedule=constant",
    )  # fmt: skip
    start = train("trainer.steps=1", "optimizer.name=sgd", "optimizer.lr=0.0", directory="still")
    moved = torch.cat([(a - b).flatten() for a, b in zip(weights(trained), weights(start), strict=True)])
    assert float(moved.norm()) == pytest.approx(0.001, rel=1e-3)
    assert trained.lines()[0]["train/gradient_norm"] > 0.001  # recorded before clipping


def test_stepping_in_the_backward_pass_takes_the_same_steps(train):
    settings = ["optimizer.name=early", "trainer.accumulate=2", "trainer.clip_norm=none"]
    late = train(*settings, directory="late")
    early = train(*settings, "trainer.step_in_backward=true", directory="early")
    assert_same_bits(weights(late), weights(early))
    assert all(parameter.grad is None for parameter in early.model.parameters())
    with pytest.raises(GraftworkError, match=r"trainer.step_in_backward: AdamW has no method"):
        train(
            "optimizer.name=adamw", "trainer.clip_norm=none", "trainer.step_in_backward=true", directory="no"
        )


def test_an_optimizer_that_asks_for_the_length_of_the_run_is_told(train):
    assert train("optimizer.name=early", directory="a").optimizer.total_steps == 12
    told = train("optimizer.name=early", "optimizer.total_steps=7", directory="b")
    assert told.optimizer.total_steps == 7


def test_the_schedule_drives_the_learning_rate(train):
    trained = train(
        "trainer.warmup_steps=4", "trainer.schedule=linear", "trainer.log_every=1", "optimizer.lr=1e-3"
    )
    rates = {line["step"]: line["train/learning_rate"] for line in trained.lines() if "train/loss" in line}
    assert rates[1] == pytest.approx(0.25e-3)
    assert rates[4] == pytest.approx(1e-3)
    assert rates[12] == pytest.approx(1e-4)


def test_a_loss_closure_sees_the_same_batch_and_dropout_and_no_gradients(train):
    trained = train(
        "optimizer.name=evolution",
        "optimizer.scale=1e-30",
        "optimizer.lr=0.0",
        "trainer.dropout_in_closure=true",
    )
    # Perturbed by less than a float can show, both evaluations of a step agree to the bit although dropout is
    # on.
    assert len(trained.optimizer.losses) == 12
    assert all(up == down for up, down in trained.optimizer.losses)
    assert len({up for up, _ in trained.optimizer.losses}) == 12
    assert all(parameter.grad is None for parameter in trained.model.parameters())


def test_a_loss_closure_evaluates_without_dropout_unless_asked_for_it(train):
    settings = ("optimizer.name=sharing", "optimizer.lr=0.0")
    dropped = train(*settings, "task.dropout=0.5", directory="a").optimizer
    whole = train(*settings, "task.dropout=0.0", directory="b").optimizer
    assert dropped.losses == whole.losses
    assert dropped.modes == [False] * 24
    asked = train(*settings, "task.dropout=0.5", "trainer.dropout_in_closure=true", directory="c").optimizer
    assert asked.modes == [True] * 24
    assert asked.losses != whole.losses


def test_the_model_is_in_training_mode_again_after_a_step(train, monkeypatch):
    from graftwork_trainer.loop import Loop

    modes = []
    keep = Loop._keep_records

    def note_mode(self, progress, *, stopping):
        modes.append(self.procedure.model.training)
        keep(self, progress, stopping=stopping)

    monkeypatch.setattr(Loop, "_keep_records", note_mode)
    train("optimizer.name=evolution")
    assert modes == [True] * 12


def test_the_loss_of_a_step_is_what_the_optimizer_makes_of_its_evaluations(train):
    trained = train("optimizer.name=sharing", "trainer.log_every=1", "optimizer.scale=0.5")
    logged = [line["train/loss"] for line in trained.lines() if "train/loss" in line]
    means = [(up + down) / 2 for up, down in trained.optimizer.losses]
    assert logged == pytest.approx(means)
    assert any(abs(up - down) > 1e-3 for up, down in trained.optimizer.losses)


def test_an_optimizer_may_swap_weights_around_an_evaluation(train):
    trained = train("optimizer.name=sharing")
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    at_zero = float(torch.sin(inputs[:, :3]).square().mean())
    losses = [line["validation/loss"] for line in trained.lines() if "validation/loss" in line]
    assert losses == pytest.approx([at_zero] * 3)
    # And they are back before anything is saved or trained; the best are those that were evaluated.
    saved = trained.run.checkpoints.newest().part("model")["model"]
    best = trained.run.best_weights(4).part("model")["model"]
    assert all(weight.abs().sum() > 0 for weight in saved.values())
    assert all(weight.abs().sum() == 0 for weight in [*best.values(), *trained.model.parameters()])


def test_an_optimizer_that_wants_the_model_is_shown_the_plain_one(train):
    for name in ("sharing", "twice"):
        trained = train(f"optimizer.name={name}", directory=name)
        assert trained.optimizer.model is trained.model


def test_one_process_is_told_that_there_is_nothing_to_share(train):
    assert train("optimizer.name=sharing").optimizer.data_parallel == "none"


def test_a_gradient_closure_gives_the_same_gradient_twice(train):
    pairs = train("optimizer.name=twice").optimizer.pairs
    assert len(pairs) == 12
    assert all(torch.equal(first, second) for first, second in pairs)
    assert not torch.equal(pairs[0][0], pairs[1][0])


def test_zeroth_order_training_learns(train):
    lines = train("optimizer.name=evolution", "trainer.steps=300", "task.dropout=0.0").lines()
    losses = [line["validation/loss"] for line in lines if "validation/loss" in line]
    assert losses[-1] < 0.75 * losses[0]


def test_early_stop(train):
    trained = train("trainer.patience=2", "trainer.steps=100", "task.validation_loss_rises=true")
    result = trained.result()
    assert (result["status"], result["steps"]) == ("stopped-early", 12)
    assert trained.run.checkpoints.steps()[-1] == 12


def test_bfloat16_autocast_computes_low_and_keeps_weights_high(train):
    trained = train("trainer.precision=bfloat16")
    exact = train(directory="exact")
    assert all(parameter.dtype == torch.float32 for parameter in trained.model.parameters())
    assert not torch.equal(weights(trained)[0], weights(exact)[0])
    assert trained.result()["metrics"]["validation/loss"] == pytest.approx(
        exact.result()["metrics"]["validation/loss"], rel=0.05
    )


def test_compiled_training_agrees_with_eager(train):
    compiled = train("trainer.compile=true", "trainer.steps=3", "task.dropout=0.0")
    eager = train("trainer.steps=3", "task.dropout=0.0", directory="eager")
    for one, other in zip(weights(compiled), weights(eager), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert compiled.model._compiled_call_impl is not None


def test_a_loss_that_is_not_finite_stops_with_advice_and_keeps_the_last_checkpoint(train):
    with pytest.raises(GraftworkError) as caught:
        train("task.infinite_from_batch=8")
    assert "a loss, gradient or weight became nan by step 8 (the checkpoint of step 6 is whole)" in str(
        caught.value
    )
    rest = train(resume=True)
    assert rest.result()["status"] == "finished"
    assert all(math.isfinite(line.get("train/loss", 0.0)) for line in rest.lines())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trainer.steps=0", "steps must be at least 1, got 0"),
        ("trainer.warmup_steps=13", "warmup_steps must be at most steps = 12, got 13"),
        ("trainer.clip_norm=0.0", "clip_norm must be above 0"),
        ("trainer.step_in_backward=true", "clip_norm must be none with step_in_backward"),
        ("trainer.final_lr_fraction=1.5", "final_lr_fraction must be in 0..1, got 1.5"),
        ("trainer.seed=-1", "seed must be in 0..2**63 - 1, got -1"),
        (
            "trainer.seed=99999999999999999999",
            "expected whole number, got 99999999999999999999 (whole number of ",
        ),
        ("trainer.patience=0", "patience must be at least 1, got 0"),
        ("optimizer.lr=-1.0", "optimizer/adamw: Invalid learning rate: -1.0"),
    ],
)
def test_options_out_of_range_name_the_range(train, setting, message):
    with pytest.raises(GraftworkError) as caught:
        train(setting)
    assert message in str(caught.value)


def test_cuda_without_a_device_is_one_sentence(train, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(GraftworkError, match=r"trainer.device is 'cuda', but torch sees no CUDA device"):
        train("trainer.device=cuda")


def test_resuming_a_run_that_ended_keeps_its_result(train):
    first = train().result()
    again = train(resume=True)
    assert again.result() == first
    (again.run.directory / "result.json").unlink()  # killed before it was written
    rest = train(resume=True).result()
    assert (rest["status"], rest["metrics"]) == ("finished", first["metrics"])
    longer = train("trainer.steps=14", resume=True)
    assert (longer.result()["steps"], longer.result()["status"]) == (14, "finished")


def test_a_request_to_stop_that_comes_after_the_records_is_saved_a_step_later(train, monkeypatch):
    import signal

    from graftwork_trainer.loop import Loop

    keep = Loop._keep_records

    def keep_and_interrupt(self, progress, *, stopping):
        keep(self, progress, stopping=stopping)
        if self.progression.step == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Loop, "_keep_records", keep_and_interrupt)
    with pytest.raises(Interrupted, match="stopped at step 5 and saved"):
        train("trainer.checkpoint_every=0", directory="stopped")
    monkeypatch.undo()
    whole, rest = train(directory="whole"), train(directory="stopped", resume=True)
    assert_same_bits(weights(whole), weights(rest))
    evaluations = [
        [line["step"] for line in trained.lines() if "validation/loss" in line] for trained in (whole, rest)
    ]
    assert evaluations == [[4, 8, 12]] * 2  # none for the stop, which would count for patience


def test_norms_and_biases_are_spared_weight_decay_and_the_run_says_so(train):
    trained = train("optimizer.weight_decay=0.5", "optimizer.lr=0.0")
    groups = trained.optimizer.param_groups
    assert [(group["weight_decay"], [p.ndim for p in group["params"]]) for group in groups] == [
        (0.5, [2, 2]),
        (0.0, [1, 1]),
    ]
    environment = json.loads((trained.run.directory / "environment.json").read_text())
    assert environment["weight_decay"] == "0.5 on 2 tensors; none on 2"


def test_the_task_says_which_way_is_better_and_the_run_keeps_it(train):
    environment = json.loads((train().run.directory / "environment.json").read_text())
    assert environment["metric_directions"] == {"validation/loss": "lower", "train/loss": "lower"}
    told = train("task.name=rows", directory="told").run.directory
    assert list(json.loads((told / "environment.json").read_text())["metric_directions"].items())[:2] == [
        ("validation/agreement", "higher"),
        ("validation/loss", "lower"),
    ]


def test_a_task_is_evaluated_in_evaluation_mode_without_gradients_and_its_modules_keep_their_modes(train):
    trained = train("task.name=watching", "task.dropout=0.5")
    assert trained.task.seen == [(False, False)] * 3
    # One module was put into evaluation mode by the task, and training did not forget it.
    assert [module.training for module in trained.model.blocks] == [True, False]


def test_groups_of_the_task_reach_the_optimizer(train):
    trained = train(
        "task.name=grouped", "optimizer.name=sgd", "trainer.schedule=constant", "optimizer.lr=0.5"
    )
    assert [group["lr"] for group in trained.optimizer.param_groups] == pytest.approx([0.05, 0.0])


def test_artefacts_are_written_when_training_has_ended_and_their_failure_loses_nothing(train, capsys):
    trained = train("task.name=watching")
    assert (
        trained.run.directory / "artefacts" / "modes.txt"
    ).read_text() == "training False, gradients False"
    failed = train("task.name=watching", "task.artefacts_fail=true", directory="failed")
    assert failed.result()["status"] == "finished"
    assert failed.run.checkpoints.steps()[-1] == 12


def test_a_stream_that_skips_by_another_stream_is_followed(train):
    settings = ["task.name=restarting", "optimizer.name=sgd"]
    whole = train(*settings, directory="whole")
    with pytest.raises(GraftworkError, match="batches ended"):
        train(*settings, "task.ends_after=7", directory="parts")
    rest = train(*settings, directory="parts", resume=True)
    assert_same_bits(weights(whole), weights(rest))


def test_a_stream_that_draws_from_the_global_generator_is_resumed_to_the_same_bits(train):
    whole = train("task.name=augmented", directory="whole")
    with pytest.raises(GraftworkError, match="batches ended"):
        train("task.name=augmented", "task.ends_after=7", directory="parts")
    rest = train("task.name=augmented", directory="parts", resume=True)
    assert_same_bits(weights(whole), weights(rest))


def test_how_often_a_model_is_evaluated_does_not_change_its_training(train):
    settings = ["task.name=drawing", "trainer.checkpoint_every=0"]
    seldom = train(*settings, "trainer.evaluate_every=0", directory="seldom")
    often = train(*settings, "trainer.evaluate_every=1", directory="often")
    assert_same_bits(weights(seldom), weights(often))


def test_the_loop_judges_by_its_own_loss_whatever_a_task_calls_loss(train):
    lines = train("task.name=drawing").lines()
    assert all(line["train/loss"] < 100 for line in lines if "train/loss" in line)


def test_patience_without_a_loss_to_wait_for_is_one_sentence(train):
    with pytest.raises(
        GraftworkError, match=r"trainer\.patience waits .* called 'loss' \(error\); leave patience"
    ):
        train("task.name=drawing", "task.metric=error", "trainer.patience=1", "trainer.evaluate_every=1")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            "task.directions=min",
            "metric_directions of Drawing must map names of metrics to 'lower' or 'higher'",
        ),
        (
            "task.groups=parameters",
            "parameter_groups of Drawing must return a list of dictionaries with 'params'",
        ),
        (
            "task.groups=unknown",
            "parameter_groups of the task sets 'learning_rate', and adamw has no such option",
        ),
        (
            "optimizer.name=lbfgs",
            r"LBFGS\.step\(\) must be given a closure, and the class does not say which",
        ),
        ("optimizer.name=rateless", "Rateless has a group of parameters without lr, which the loop"),
    ],
)
def test_a_broken_contract_is_said_before_training(train, options, sentence):
    with pytest.raises(GraftworkError, match=sentence):
        train("task.name=drawing", options)
