"""Bilevel problems, trained by agents that exchange with neighbours only; and their tasks trained plainly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from graftwork import GraftworkError, Recipe, build_recipe, load_recipe, parse_set

SHORT = {
    "trainer__steps": 6,
    "trainer__device": "cpu",
    "trainer__log_every": 1,
    "trainer__evaluate_every": 3,
    "trainer__checkpoint_every": 0,
}
PLAIN: dict[str, Any] = {
    "task": {"name": "hyper-cleaning", "train_samples": 400},
    "optimizer": {"name": "sgd", "lr": 0.5},
    "trainer": {"name": "standard"},
}
IMAGES: dict[str, Any] = {
    "task": {"name": "image-classification", "data": "digits", "partition": "dirichlet", "alpha": 0.1},
    "model": {"name": "mlp", "hidden": 16},
    "strategy": {"name": "gt-semi-atc"},
    "optimizer": {"name": "sgd", "lr": 0.3},
    "trainer": {"name": "decentralized", "agents": 5},
}

Train = Callable[..., Path]


def recipe_of(given: str | Mapping[str, Any], **changes: Any) -> Recipe:
    """A registered recipe by its name or one of its own, made short, with options laid over it."""
    dotted = {key.replace("__", "."): value for key, value in {**SHORT, **changes}.items()}
    overrides = [parse_set(f"{key}={value}") for key, value in dotted.items()]
    return (
        load_recipe(given, overrides) if isinstance(given, str) else build_recipe(given, overrides=overrides)
    )


@pytest.fixture
def train(train_here: Callable[..., Path]) -> Train:
    """Train in this process and return the run's directory."""

    def run(
        given: str | Mapping[str, Any] = "hyper-cleaning",
        directory: str = "run",
        *,
        resume: bool = False,
        **changes: Any,
    ) -> Path:
        resolved = recipe_of(given, **changes).resolve()
        return train_here(resolved, directory, resume=resume)

    return run


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def values(run: Path, name: str) -> list[float]:
    return [line[name] for line in lines(run) if name in line]


def test_the_recipe_trains_and_records_every_level(train: Train, read_result: Any) -> None:
    run = train()
    result = read_result(run)
    assert (result["status"], result["steps"], result["agents"]) == ("finished", 6, 10)
    assert result["parameters"] == 1000 + 650
    losses = values(run, "train/loss")
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    last = lines(run)[-1]
    for metric in ("loss", "accuracy", "wrong_label_auc"):
        assert {f"validation/{which}{metric}" for which in ("", "mean_agent_", "worst_agent_")} <= last.keys()
    assert last["validation/worst_agent_accuracy"] <= last["validation/mean_agent_accuracy"]
    for level in ("lower", "upper", "auxiliary"):
        assert values(run, f"train/consensus_distance_{level}")[-1] > 0
    # Three levels, a round each, of float32 along the 20 directions of a ring's edges.
    assert values(run, "train/rounds")[-1] == 3 * 6
    assert values(run, "train/bytes_sent")[-1] == 6 * 20 * 4 * (650 + 650 + 1000)


def test_jacobi_order_sends_one_message_a_step(train: Train) -> None:
    run = train(trainer__order="jacobi")
    assert values(run, "train/rounds")[-1] == 6
    assert values(run, "train/bytes_sent")[-1] == 6 * 20 * 4 * (650 + 650 + 1000)


@pytest.mark.parametrize(
    ("method", "levels"),
    [
        ({"method__name": "d-soba"}, 3),
        ({"method__name": "ma-dsbo-gt", "method__lower_rounds": 2}, 3),
        ({"method__name": "mdbo", "method__terms": 3}, 2),
        ({"method__name": "sldbo"}, 3),
        ({"method__name": "centralized"}, 3),
        ({"method__lower": "extra", "method__upper": "gt-semi-atc"}, 3),
        ({"method__lower": "gt-atc", "method__auxiliary": "extra", "method__upper": "diffusion"}, 3),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_registered_methods_and_mixtures_train(method: dict[str, Any], levels: int, train: Train) -> None:
    run = train(**method)
    losses = values(run, "train/loss")
    assert losses[-1] < losses[0]
    apart = {key for key in lines(run)[-2] | lines(run)[-1] if key.startswith("train/consensus_distance")}
    assert len(apart) == levels
    if method.get("method__name") == "centralized":
        assert values(run, "train/consensus_distance_lower")[-1] < 1e-6


def test_two_processes_train_the_variables_of_one_bit_for_bit(
    train: Train, forked: Callable[..., Any], tmp_path: Path, assert_same_bits: Callable[..., None]
) -> None:
    method = {
        "method__lower": "gt-atc",
        "method__upper": "exact-diffusion",
        "method__lower_graph__name": "ring",
        "method__lower_graph__self_weight": 0.8,
        "trainer__order": "jacobi",
    }
    one = train(directory="one", **method)
    dotted = {key.replace("__", "."): value for key, value in {**SHORT, **method}.items()}
    options = [part for key, value in dotted.items() for part in ("--set", f"{key}={value}")]
    ran = forked("train", "hyper-cleaning", "--no-report", "--out", "two", *options, processes=2)
    assert ran.codes == {0: [0], 1: [0]}, ran.words
    two = tmp_path / "two"
    assert_same_bits(one, two, at_least=10 * 3 * 2)
    environment = json.loads((two / "environment.json").read_text())
    assert (environment["world_size"], environment["parallel"]) == (2, "bilevel, 10 agents")
    for name in ("rounds", "bytes_sent", "messages_sent"):
        assert values(one, f"train/{name}") == values(two, f"train/{name}")
    for name in ("train/loss", "train/consensus_distance_lower", "validation/worst_agent_loss"):
        assert values(one, name) == pytest.approx(values(two, name), rel=1e-5)


@pytest.mark.parametrize(
    ("recipe", "metric"),
    [("policy-evaluation", "validation/excess_loss"), ("meta-learning", "validation/episode_loss")],
)
def test_the_other_recipes_train_and_improve(recipe: str, metric: str, train: Train) -> None:
    run = train(recipe)
    early, late = values(run, metric)
    assert late < early


def test_without_cleaning_the_task_is_any_trainers(train: Train) -> None:
    run = train(PLAIN, trainer__steps=20)
    losses = values(run, "train/loss")
    assert losses[-1] < losses[0]
    assert 0.1 < values(run, "validation/accuracy")[-1] < 1


def test_agents_with_classes_of_their_own_learn_to_classify(train: Train) -> None:
    run = train(IMAGES, trainer__steps=15)
    first, *_, last = values(run, "validation/loss")
    assert last < first
    assert values(run, "validation/worst_agent_accuracy")[-1] > 0.1


def test_a_task_without_a_bilevel_problem_is_refused(train: Train) -> None:
    images = {**{key: IMAGES[key] for key in ("task", "model")}, "trainer": {"name": "bilevel"}}
    with pytest.raises(
        GraftworkError, match=r"'image-classification' has no bilevel problem.*'decentralized'"
    ):
        train(images)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ({"method__lwer": "extra"}, "bilevel-method/sparkle has no option 'lwer', did you mean 'lower'"),
        ({"method__lower": "extr"}, "no strategy called 'extr', did you mean 'extra'"),
        ({"method__name": "d-sobe"}, "no bilevel-method called 'd-sobe', did you mean 'd-soba'"),
        ({"trainer__evaluate_agent": True}, "no option 'evaluate_agent', did you mean 'evaluate_agents'"),
        ({"method__lower_graph__name": "rings"}, "no topology called 'rings', did you mean 'ring'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_option_is_answered_with_what_was_meant(mistake: dict[str, Any], words: str) -> None:
    with pytest.raises(GraftworkError, match=words):
        recipe_of("hyper-cleaning", **mistake).resolve()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trainer__theta": 1.5}, "theta must be above 0 and at most 1, got 1.5"),
        ({"faults__on_failure": "continue"}, r"faults.on_failure = 'continue' .* choose 'stop'"),
        ({"faults__delay": 1}, "'exact-diffusion' on 'lazy ring' diverges with faults.delay = 1"),
        ({"faults__link_loss": 0.2, "method__name": "centralized"}, r"'full'.* \[faults\] are of one graph"),
        (
            {
                "faults__delay": 1,
                "method__lower": "gt-semi-atc",
                "method__lower_graph__name": "ring",
                "method__lower_graph__self_weight": 0.8,
            },
            r"mixed on 'ring' and others on 'lazy ring', and \[faults\] are of one graph",
        ),
    ],
    ids=["theta", "on-failure", "delay", "lost-links-elsewhere", "delay-and-two-graphs"],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], words: str, train: Train) -> None:
    network = {"faults__name": "standard"} if any(key.startswith("faults") for key in settings) else {}
    with pytest.raises(GraftworkError, match=words):
        train(**network, **settings)
