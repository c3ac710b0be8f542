"""What every task promises a trainer, and what is particular to each.

Reached from here: ``models/mlp.py``, ``models/resnet.py``, ``tasks/area_under_curve.py``,
``tasks/spread_images.py``.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graftwork import GraftworkError
from graftwork.contracts import Task
from graftwork_decentral.bilevel.oracles import Oracles
from graftwork_decentral.models.mlp import mlp
from graftwork_decentral.models.resnet import resnet18
from graftwork_decentral.tasks.hyper_cleaning import HyperCleaningTask
from graftwork_decentral.tasks.image_classification import ImageClassification
from graftwork_decentral.tasks.meta_learning import MetaLearningTask
from graftwork_decentral.tasks.policy_evaluation import PolicyEvaluationTask
from graftwork_trainer.task_members import directions_of

BILEVEL = [
    HyperCleaningTask(batch_share=0.25),
    HyperCleaningTask(model="mlp", hidden=8),
    PolicyEvaluationTask(states=30, features=4, batch_share=0.5),
    MetaLearningTask(episodes=4, hidden=8, new_episodes=3),
]
ALL = [*BILEVEL, ImageClassification(model=mlp), ImageClassification(model=mlp, augment=True)]


def name_of(task: object) -> str:
    return type(task).__name__


@pytest.mark.parametrize("task", ALL, ids=name_of)
def test_keeps_the_contract_of_a_task(task: Task) -> None:
    assert isinstance(task, Task)
    model = task.build_model()
    stream = iter(task.batches("train", rank=1, world_size=3, seed=5))
    batches = [next(stream) for _ in range(4)]
    loss, _ = task.loss(model, batches[0])
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert "loss" in task.evaluate(model)
    assert task.count(batches[0]) > 0  # type: ignore[attr-defined]
    again = task.batches("train", rank=1, world_size=3, seed=5)
    again.skip(3)  # type: ignore[attr-defined]
    for name, value in next(iter(again)).items():
        assert torch.equal(value, batches[3][name]), name
    assert sum(1 for _ in task.batches("validation", rank=0, world_size=3, seed=0)) >= 1


@pytest.mark.parametrize("task", BILEVEL, ids=name_of)
def test_bilevel_batches_are_a_function_of_step_and_agent(task: HyperCleaningTask) -> None:
    setup = task.bilevel(5)
    together = setup.batches(3, [0, 1, 2, 3, 4])
    for three, alone in zip(together, setup.batches(3, [2, 4]), strict=True):
        for name, value in alone.items():
            assert torch.equal(value, three[name][[2, 4]]), name
    again = task.bilevel(5).batches(3, [0, 1, 2, 3, 4])
    assert all(
        torch.equal(one[name], two[name]) for one, two in zip(together, again, strict=True) for name in one
    )


@pytest.mark.parametrize("task", BILEVEL, ids=name_of)
def test_bilevel_setup_fits_its_problem(task: HyperCleaningTask) -> None:
    setup = task.bilevel(3)
    problem = setup.problem
    assert setup.upper_start.shape == (problem.upper_variables,)
    assert setup.lower_start.shape == (problem.lower_variables,)
    metrics = setup.evaluate(setup.upper_start, setup.lower_start)
    assert "loss" in metrics
    x, y = setup.upper_start.expand(3, -1), setup.lower_start.expand(3, -1)
    z = 0.1 * torch.randn(3, problem.lower_variables)
    for direction in Oracles(problem).together(x, y, z, setup.batches(0, range(3))[0]):
        assert direction.isfinite().all()
        assert direction.abs().max() > 0


def test_minibatch_directions_of_hyper_cleaning_are_unbiased() -> None:
    whole, part = HyperCleaningTask().bilevel(4), HyperCleaningTask(batch_share=0.25).bilevel(4)
    y = torch.randn(4, 650) / 10
    x = torch.zeros(4, 1000)
    exact = Oracles(whole.problem).lower(x, y, whole.batches(0, range(4))[0])
    drawn = torch.stack(
        [Oracles(part.problem).lower(x, y, part.batches(step, range(4))[0]) for step in range(200)]
    )
    off = (drawn.mean(0) - exact).norm() / exact.norm()
    single = (drawn - exact).norm(dim=(1, 2)).mean() / exact.norm()
    assert off < 3 * single / 200**0.5


def test_corruption_replaces_the_given_share_by_other_classes() -> None:
    task = HyperCleaningTask(corruption=0.3)
    right, given = task._images[0].labels, task.training.labels
    assert task.corrupted.sum() == 300
    np.testing.assert_array_equal(right != given, task.corrupted)


def test_fashion_mnist_needs_a_folder() -> None:
    with pytest.raises(GraftworkError, match="folder"):
        HyperCleaningTask(data="fashion-mnist").build_model()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"corruption": 1.0}, "corruption"), ({"batch_share": 0.0}, "batch_share"), ({"alpha": 0.0}, "alpha")],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message} must be"):
        HyperCleaningTask(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be at most 1300"):
        HyperCleaningTask(train_samples=1200, clean_samples=200).build_model()


def test_agents_of_image_classification_have_parts_of_their_own() -> None:
    task = ImageClassification(model=mlp, alpha=0.1, batch_size=10_000)
    parts = [next(iter(task.batches("train", rank=rank, world_size=5, seed=0))) for rank in range(5)]
    assert sum(len(part["labels"]) for part in parts) == 1300
    largest = [part["labels"].bincount(minlength=10).max() / len(part["labels"]) for part in parts]
    assert float(torch.stack(largest).mean()) > 0.3


def test_features_from_a_folder(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, classes in (("train", (0, 1, 2, 3)), ("test", (7, 8, 9))):
        labels = np.repeat(classes, 20)
        np.savez(tmp_path / f"{name}.npz", features=generator.normal(size=(len(labels), 6)), labels=labels)
    task = MetaLearningTask(data="features", folder=tmp_path, episodes=2, hidden=4)
    assert task.bilevel(2).problem.upper_variables == 6 * 4 + 4
    with pytest.raises(GraftworkError, match=r"train\.npz: no such file"):
        MetaLearningTask(data="features", folder=tmp_path / "none").build_model()


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_resnet_halves_its_images_three_times(norm: str) -> None:
    model = resnet18((3, 32, 32), 10, width=8, norm=norm)  # type: ignore[arg-type]
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    shapes = []
    for layer in model.modules():
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            layer.register_forward_hook(lambda _module, inputs, _output: shapes.append(inputs[0].shape))
    model(torch.randn(2, 3, 32, 32))
    assert shapes == [(2, 64, 4, 4)]


CLASSIFYING = [HyperCleaningTask(), ImageClassification(model=mlp)]


@pytest.mark.parametrize("task", CLASSIFYING, ids=name_of)
def test_metrics_of_rows_are_those_of_all_held_out_images(task: ImageClassification) -> None:
    model = task.build_model()
    images = task.held_out
    batch = images.batch(np.arange(len(images)))
    with torch.no_grad():
        logits = model(batch["features"])
    found = task.evaluate(model)
    assert found["loss"] == pytest.approx(float(F.cross_entropy(logits, batch["labels"])), rel=1e-6)
    assert found["accuracy"] == float((logits.argmax(1) == batch["labels"]).double().mean())
    # However the images are dealt out to batches.
    pieces = [task.evaluate_rows(model, images.batch(np.arange(first, 497, 5))) for first in range(5)]
    together = {name: torch.cat([piece[name] for piece in pieces]).detach() for name in pieces[0]}
    assert task.metrics(together) == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("task", CLASSIFYING, ids=name_of)
def test_the_confusion_matrix_counts_every_held_out_image(task: ImageClassification, tmp_path: Path) -> None:
    model = task.build_model()
    task.artefacts(model, tmp_path)
    with (tmp_path / "confusion-matrix.csv").open(newline="") as file:
        heading, *lines = csv.reader(file)
    assert heading == ["true label", *(f"predicted {label}" for label in range(10))]
    counts = np.array(lines, dtype=int)[:, 1:]
    np.testing.assert_array_equal(counts.sum(1), np.bincount(task.held_out.labels))
    assert np.trace(counts) / 497 == pytest.approx(task.evaluate(model)["accuracy"])
    # Rows are classes, columns what they are taken for.
    sevens = task.held_out.batch(np.flatnonzero(task.held_out.labels == 7))
    assert counts[7].tolist() == model(sevens["features"]).argmax(1).bincount(minlength=10).tolist()


@pytest.mark.parametrize("task", ALL, ids=name_of)
def test_every_metric_has_a_direction(task: ImageClassification) -> None:
    directions = directions_of(task)
    assert directions.keys() == task.evaluate(task.build_model()).keys()
    assert {"loss": "lower", "accuracy": "higher"}.items() >= directions.items()


@pytest.mark.parametrize("task", BILEVEL, ids=name_of)
def test_every_metric_of_both_levels_has_a_direction(task: HyperCleaningTask) -> None:
    setup = task.bilevel(3)
    found = setup.evaluate(setup.upper_start, setup.lower_start)
    assert setup.directions.keys() == found.keys()
    higher = {name for name, better in setup.directions.items() if better == "higher"}
    assert higher == {name for name in found if "accuracy" in name or "auc" in name}


def test_no_image_is_left_out_of_an_epoch() -> None:
    task = ImageClassification(model=mlp, partition="iid", batch_size=9)
    stream = iter(task.batches("train", rank=0, world_size=10, seed=0))
    drawn = torch.cat([batch["features"] for batch in itertools.islice(stream, 30)])[:260]
    met = Counter(image.numpy().tobytes() for image in drawn)
    assert len(met) == 130
    assert set(met.values()) == {2}


def test_layers_have_names_that_optimizers_can_select_by() -> None:
    small = mlp((1, 8, 8), 10)
    assert [name for name, _ in small.named_parameters()] == [
        *("hidden.weight", "hidden.bias", "head.weight", "head.bias")
    ]
    parts = dict(resnet18((3, 32, 32), 10, width=8).named_children())
    assert list(parts) == ["stem", "stage1", "stage2", "stage3", "stage4", "pool", "flatten", "head"]
