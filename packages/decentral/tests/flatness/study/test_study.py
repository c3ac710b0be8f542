"""Whole studies of a convex task.

Reached from here: ``flatness/study/cells.py``, ``flatness/study/data.py``, ``flatness/study/training.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graftwork import GraftworkError, choose
from graftwork_decentral.flatness.study import FlatnessStudy, Row

MakeStudy = Callable[..., FlatnessStudy]


def by_method(rows: list[Row]) -> dict[str, Row]:
    return {row.method: row for row in rows}


def test_finding_2_excess_risk_is_ordered_without_noise_in_the_convex_case(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    def brisk(model: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.5)

    study = make_study(optimizer=brisk, steps=200, measure=("excess-risk", "theory"))
    rows = by_method(study.run(tmp_path))
    for measure in ("train_loss_agents", "excess_risk_agents", "predicted_excess_risk", "disagreement_risk"):
        values = [rows[method][measure] for method in ("centralized", "diffusion", "consensus")]
        assert values[0] < values[1] < values[2], measure
    assert rows["centralized"]["excess_risk_agents"] == pytest.approx(0, abs=1e-5)


def test_predicted_disagreement_is_what_is_measured(make_study: MakeStudy, tmp_path: Path) -> None:
    def gentle(model: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.05)

    study = make_study(
        optimizer=gentle, steps=400, descent_steps=20, methods=("diffusion", "consensus"), measure=("theory",)
    )
    for row in study.run(tmp_path):
        assert row["predicted_disagreement_risk"] == pytest.approx(row["disagreement_risk"], rel=0.15)


def test_centralized_is_sgd_of_one_process_with_the_batches_of_all(
    make_study: MakeStudy, toy: Any, tmp_path: Path
) -> None:
    (row,) = make_study(methods=("centralized",), batch_sizes=(2,), measure=("validation",)).run(tmp_path)
    torch.manual_seed(0)
    task = toy.ToySoftmax(batch_size=2)
    model = task.build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    streams = [task.batches("train", rank=agent, world_size=4, seed=0) for agent in range(4)]
    for _ in range(60):
        drawn = [next(stream) for stream in streams]
        large = {name: torch.cat([batch[name] for batch in drawn]) for name in drawn[0]}
        optimizer.zero_grad()
        task.loss(model, large)[0].backward()
        optimizer.step()
    assert row["validation_loss"] == pytest.approx(task.evaluate(model)["loss"], rel=1e-12)
    assert row["validation_worst_agent_loss"] == pytest.approx(row["validation_loss"], rel=1e-12)


def test_rows_are_complete_and_finite(make_study: MakeStudy, tmp_path: Path) -> None:
    from graftwork_decentral.flatness.study.measures import MEASURES

    study = make_study(
        measure=MEASURES,
        batch_sizes=(2, 10),
        graphs=("ring", "one-peer-exponential"),
        methods=("centralized", "diffusion"),
        steps=20,
        descent_steps=20,
        start_steps=5,
    )
    rows = study.run(tmp_path)
    assert len({row.key for row in rows}) == len(rows) == 2 * (1 + 2)
    expected = {
        *("train_loss_agents", "train_loss_centroid", "risk_over_start_agents", "bottom_loss"),
        *("excess_risk_agents", "excess_risk_centroid", "consensus_distance", "weighted_consensus_distance"),
        *("hessian_trace", "hessian_trace_error", "bottom_hessian_trace", "bottom_hessian_trace_error"),
        *("bottom_top_eigenvalue", "bottom_sharpness", "bottom_sharpness_error", "gradient_noise_trace"),
        *("heterogeneity", "disagreement_risk", "validation_loss", "validation_accuracy"),
        *(f"validation_{who}_agent_{what}" for who in ("mean", "worst") for what in ("loss", "accuracy")),
    }
    predicted = {"predicted_excess_risk", "predicted_disagreement_risk"}
    for row in rows:
        changes = row.graph == "one-peer-exponential"
        assert set(row.measures) == (expected if changes else expected | predicted)
        assert all(math.isfinite(value) for value in row.measures.values())
        assert (row.gap is None) == changes
        assert row["bottom_loss"] <= row["train_loss_centroid"] + 1e-12
        assert 0 < row["bottom_top_eigenvalue"] <= row["bottom_hessian_trace"] * 1.5
        assert (row["gradient_noise_trace"] > 0.01) == (row.batch_size == 2)
    together = [row["consensus_distance"] for row in rows if row.method == "centralized"]
    assert max(together) < 1e-20


def test_an_interrupted_study_keeps_its_rows_and_goes_on(make_study: MakeStudy, tmp_path: Path) -> None:
    options = {"steps": 10, "start_steps": 2, "measure": ("excess-risk",), "descent_steps": 5}
    study = make_study(seeds=(0, 1), batch_sizes=(2,), **options)
    whole = study.run(tmp_path / "whole")
    told: list[str] = []

    def interrupt(line: str) -> None:
        told.append(line)
        if len(told) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(tmp_path / "parts", say=interrupt)
    with (tmp_path / "parts" / "rows.jsonl").open("a") as file:
        file.write('{"method": "diff')  # as a kill leaves it
    told = []
    fresh = make_study(seeds=(0, 1), batch_sizes=(2,), **options)
    rows = fresh.run(tmp_path / "parts", say=told.append)
    assert [line.endswith("already there") for line in told] == [True] * 4 + [False] * 2
    assert [(row.key, row.measures) for row in rows] == [(row.key, row.measures) for row in whole]
    assert (tmp_path / "parts" / "rows.csv").read_text().count("\n") == 7


def test_a_folder_takes_more_seeds_and_refuses_other_options(make_study: MakeStudy, tmp_path: Path) -> None:
    make_study(methods=("centralized",), start_steps=1).run(tmp_path)
    told: list[str] = []
    options = {"seeds": (1, 0), "batch_sizes": (10, 2), "start_batch_size": 10, "start_steps": 1}
    make_study(methods=("centralized", "diffusion"), **options).run(tmp_path, say=told.append)
    assert sum("already there" in line for line in told) == 1
    assert len(told) == 8
    with pytest.raises(GraftworkError, match="steps was 60 and is 61; give another folder"):
        make_study(steps=61, start_steps=1).run(tmp_path)


def test_from_a_common_minimum_only_centralized_stays_without_noise(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    rows = by_method(make_study(start_steps=100, start_descent=300, steps=50).run(tmp_path))
    climbed = {method: row["risk_over_start_agents"] for method, row in rows.items()}
    assert climbed["centralized"] == pytest.approx(0, abs=1e-7)
    assert 1e-4 < climbed["diffusion"] < climbed["consensus"]
    assert (tmp_path / "starts" / "seed-0.safetensors").exists()


def test_what_diverges_is_a_row_and_the_study_goes_on(make_study: MakeStudy, tmp_path: Path) -> None:
    def wild(model: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=1e9)

    rows = make_study(optimizer=wild, steps=101).run(tmp_path)
    assert [row.status for row in rows] == ["diverged"] * 3
    assert not any(row.measures for row in rows)


class LossOnly(torch.optim.SGD):
    closure = "loss"

    def step(self, closure: Any = None) -> Any:
        value = closure()
        assert not value.requires_grad
        return value


class WithGradient(torch.optim.SGD):
    closure = "gradient"

    def step(self, closure: Any = None) -> Any:
        value = closure()
        super().step()
        return value


def test_optimizers_of_all_kinds_can_be_studied(make_study: MakeStudy, tmp_path: Path) -> None:
    def row_of(make: Any, name: str) -> Row:
        options = {"methods": ("diffusion",), "measure": ("theory",)}
        return make_study(optimizer=make, **options).run(tmp_path / name)[0]

    plain = row_of(lambda model: torch.optim.SGD(model.parameters(), lr=0.2), "plain")
    by_closure = row_of(lambda model: WithGradient(model.parameters(), lr=0.2), "closure")
    assert by_closure["train_loss_agents"] == plain["train_loss_agents"]
    still = row_of(lambda model: LossOnly(model.parameters(), lr=0.2), "still")
    assert still["train_loss_agents"] > plain["train_loss_agents"]
    adam = row_of(lambda model: torch.optim.Adam(model.parameters(), lr=0.05), "adam")
    assert adam["train_loss_agents"] < still["train_loss_agents"]
    assert "predicted_excess_risk" in plain.measures
    assert "predicted_excess_risk" not in adam.measures


def test_registered_components_and_their_options_are_told_apart(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    task = choose("task", "toy-softmax", {"spread": 2.0, "batch_size": 7})
    optimizer = choose("optimizer", "toy-sgd", {"lr": 0.2})
    methods = ("gt-atc", {"name": "diffusion"})
    study = make_study(task=task, optimizer=optimizer, methods=methods)
    assert study.settings["task"] == {"name": "toy-softmax", "spread": 2.0}
    assert study.settings["optimizer"]["lr"] == 0.2
    tracked, uncorrected = study.run(tmp_path)
    assert tracked["train_loss_agents"] < uncorrected["train_loss_agents"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"methods": ("difusion",)}, "difusion.*did you mean 'diffusion'"),
        ({"graphs": ("rin",)}, "rin.*did you mean 'ring'"),
        ({"graphs": ({"name": "ring", "lasy": True},)}, "lasy.*did you mean 'lazy'"),
        ({"graphs": ({"lazy": True},)}, "study.graphs: a table must have a name"),
        ({"graphs": ("hypercube",), "agents": 6}, "topology/hypercube: .*agents.*got 6"),
        ({"graphs": ("ring", "ring")}, "graphs must not name one thing twice"),
        ({"methods": ("extra",), "graphs": ("one-peer-exponential",), "agents": 8}, "'extra' needs"),
        ({"batch_option": "size"}, "study.batch_option: ToySoftmax has no option 'size'.*batch_size"),
        ({"agents": 1}, "agents must be 2 or more, got 1"),
        ({"batch_sizes": (0,)}, "batch_sizes must be 1 or more, got 0"),
        ({"noise_batches": 1}, "noise_batches must be 2 or more, got 1"),
        ({"seeds": ()}, "seeds must name at least one"),
        ({"descent_rate": 0.0}, "descent_rate must be positive, got 0"),
        ({"measure": ("trace",)}, "measure must hold only excess-risk.*got trace"),
        ({"device": "gpu0"}, "device must be auto, cpu or cuda, got 'gpu0'"),
    ],
)
def test_mistakes_are_named_before_anything_trains(
    make_study: MakeStudy, options: dict[str, Any], says: str
) -> None:
    with pytest.raises((ValueError, GraftworkError), match=f"(?s){says}"):
        make_study(**options)
