"""Options at and beyond their ends: each is refused in a sentence with its name before anything trains.

The loop is left out: a training that would begin says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from graftwork import GraftworkError, build_recipe
from graftwork_decentral.trainers import bilevel, decentralized

POLICY = {"name": "policy-evaluation", "states": 8, "features": 2}
BILEVEL: dict[str, Any] = {
    "task": POLICY,
    "method": {"name": "sparkle"},
    "topology": {"name": "ring", "lazy": True},
    "trainer": {"name": "bilevel", "agents": 4, "steps": 3, "device": "cpu"},
}
CLEANING = {
    **BILEVEL,
    "task": {"name": "hyper-cleaning", "train_samples": 40, "clean_samples": 20, "alpha": 1.0},
}
EPISODES = {**BILEVEL, "task": {"name": "meta-learning", "episodes": 1, "new_episodes": 1}}
SEVERAL: dict[str, Any] = {
    "task": POLICY,
    "optimizer": {"name": "plain-adamw", "lr": 0.1},
    "strategy": {"name": "gt-semi-atc"},
    "topology": {"name": "ring"},
    "trainer": {"name": "decentralized", "agents": 4, "steps": 3, "device": "cpu"},
}
IMAGES = {**SEVERAL, "task": {"name": "image-classification"}, "model": {"name": "mlp", "hidden": 4}}
BASES = {
    "several": SEVERAL,
    "images": IMAGES,
    "bilevel": BILEVEL,
    "cleaning": CLEANING,
    "episodes": EPISODES,
}
NO_NUMBER = [float("nan"), float("inf")]
SEEDS = [-1, 2**63]
BEYOND: dict[str, dict[str, list[Any]]] = {
    "several": {
        "trainer.agents": [0, -1],
        "trainer.seed": SEEDS,
        "trainer.lazy": ["always"],
        "trainer.unsuited": ["ignore"],
        "strategy.name": ["unknown"],
        "topology.name": ["unknown"],
        "topology.weights": ["equal"],
        "topology.self_weight": [0.0, 1.0, *NO_NUMBER],
        "faults.link_loss": [1, -0.1, *NO_NUMBER],
        "faults.isolate": [[4], [-1]],
        "faults.delay": [-1, 3, 1000],
        "faults.compressor": ["zip"],
        "faults.share": [0.0, 1.5, *NO_NUMBER],
        "faults.gamma": [0.0, 1.5, *NO_NUMBER],
        "faults.on_failure": ["retry"],
        "faults.timeout_seconds": [0.0, 1e300, *NO_NUMBER],
        "faults.seed": SEEDS,
    },
    "images": {
        "trainer.agents": [5000],
        "task.partition": ["by-class"],
        "task.alpha": [0.0, -1.0, 1e300, *NO_NUMBER],
        "task.batch_size": [0],
        "task.seed": SEEDS,
        "model.hidden": [0],
    },
    "bilevel": {
        "trainer.alpha": [0.0, *NO_NUMBER],
        "trainer.beta": [0.0, *NO_NUMBER],
        "trainer.gamma": [0.0, *NO_NUMBER],
        "trainer.theta": [0.0, 1.5, *NO_NUMBER],
        "trainer.agents": [0],
        "method.name": ["unknown"],
        "method.track": ["both"],
        "faults.on_failure": ["continue"],
        "task.states": [0],
        "task.features": [0],
        "task.discount": [1.0, -0.1, *NO_NUMBER],
        "task.heterogeneity": [-1.0, *NO_NUMBER],
        "task.noise": [-1.0, *NO_NUMBER],
        "task.batch_share": [0.0, 1.5, *NO_NUMBER],
        "task.seed": SEEDS,
    },
    "cleaning": {
        "trainer.agents": [21, 41, 100_000],
        "task.train_samples": [0, 5000],
        "task.clean_samples": [0],
        "task.corruption": [1.0, -0.1],
        "task.ridge": [-1.0, *NO_NUMBER],
        "task.hidden": [0],
        "task.batch_share": [0.0],
        "task.alpha": [0.0],
        "task.seed": SEEDS,
    },
    "episodes": {
        "trainer.agents": [1000],
        "task.ways": [1, 4, 8],
        "task.shots": [0, 500],
        "task.queries": [0, 500],
        "task.ridge": [0.0],
        "task.episodes": [0],
        "task.seed": SEEDS,
    },
}
"""By recipe and option the values that are refused."""
TOGETHER: list[tuple[str, dict[str, Any], str]] = [
    (
        "several",
        {"faults.isolate": [1], "faults.isolate_to": 2},
        "faults.isolate = [1] are cut off in all 3 steps",
    ),
    (
        "several",
        {"faults.isolate": [1], "faults.isolate_from": 3, "faults.isolate_to": 9},
        "faults.isolate_from",
    ),
    (
        "several",
        {"faults.isolate": [1], "faults.isolate_from": 2},
        "isolate_from must be at least 0 and at most",
    ),
    ("several", {"topology": {"name": "torus"}, "trainer.agents": 7}, "agents must be a product"),
    ("several", {"topology": {"name": "torus", "rows": 0}}, "rows must divide agents = 4"),
    (
        "several",
        {"topology": {"name": "hypercube"}, "trainer.agents": 6},
        "agents must be a power of two, got 6",
    ),
    ("several", {"topology": {"name": "erdos-renyi", "seed": -1}}, "seed must be in"),
    ("several", {"topology": {"name": "erdos-renyi", "probability": 1e-9}}, "falls into 4 parts"),
    ("several", {"topology": {"name": "edges", "edges": [[0, 1], [2, 3]]}}, "agents 0, 1 reach no other"),
    ("several", {"topology": {"name": "edges", "edges": [[0, 4]]}}, "edges must join agents 0..3, got 0-4"),
    (
        "several",
        {"topology": {"name": "one-peer-exponential"}, "faults.delay": 1},
        "faults.delay needs a fixed",
    ),
    (
        "several",
        {"topology": {"name": "one-peer-exponential"}, "faults.link_loss": 0.1},
        "faults.link_loss needs",
    ),
    (
        "images",
        {"trainer.agents": 300, "task.alpha": 0.001},
        "task.alpha = 0.001 leaves one of trainer.agents",
    ),
    ("bilevel", {"method": {"name": "mdbo", "terms": 0}}, "terms must be at least 1"),
    ("bilevel", {"method": {"name": "sldbo", "auxiliary_radius": 0.0}}, "auxiliary_radius must be above 0"),
    ("bilevel", {"faults.delay": 1}, "diverges with faults.delay = 1"),
]
ENDS: list[tuple[str, dict[str, Any]]] = [
    ("several", {"trainer.agents": 1}),
    ("several", {"faults.link_loss": 0.999}),
    ("several", {"faults.isolate": [0, 1, 2, 3], "faults.isolate_to": 1}),
    ("several", {"faults.seed": 2**63 - 1, "faults.link_loss": 0.5, "faults.compressor": "random-k"}),
    ("several", {"topology.self_weight": 1 - 1e-7}),
    ("images", {"task.batch_size": 10**6, "task.seed": 2**63 - 1, "trainer.seed": 2**63 - 1}),
    ("images", {"task.alpha": 1e-300}),
    ("bilevel", {"task.seed": 2**63 - 1, "trainer.seed": 2**63 - 1, "trainer.agents": 1}),
    ("bilevel", {"task.states": 1, "task.features": 1, "task.batch_share": 1e-9}),
    ("cleaning", {"task.seed": 2**63 - 1, "task.corruption": 0.0, "task.ridge": 0.0, "trainer.agents": 1}),
    ("episodes", {"task.seed": 2**63 - 1}),
]


class BeganError(Exception):
    """What would train has begun, and taken a step."""


@pytest.fixture
def begin(lines_plugin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Begin to train a recipe with options laid over it."""

    def no_loop(procedure: Any, loop: Any, run: Any) -> None:
        procedure.start(0)
        assert float(procedure.step().loss) >= 0
        raise BeganError

    for module in (bilevel, decentralized):
        monkeypatch.setattr(module, "drive", no_loop)

    def run(base: str, options: dict[str, Any]) -> None:
        recipe = {name: dict(table) for name, table in BASES[base].items()}
        for key, value in options.items():
            table, _, option = key.partition(".")
            if not option:
                recipe[table] = value
            else:
                recipe.setdefault(table, {"name": "standard"})[option] = value
        resolved = build_recipe(recipe).resolve()
        checkpoints = SimpleNamespace(directory=tmp_path)
        place = SimpleNamespace(checkpoints=checkpoints, note=lambda facts: None, start_from=None)
        resolved.trainer().fit(resolved.task(), resolved, place)

    return run


@pytest.mark.parametrize(
    ("base", "option"), [(base, option) for base, options in BEYOND.items() for option in options]
)
def test_an_option_beyond_its_end_is_refused_by_its_name(
    begin: Callable[..., None], base: str, option: str
) -> None:
    for value in BEYOND[base][option]:
        with pytest.raises((GraftworkError, ValueError)) as refused:
            begin(base, {option: value})
        assert option in str(refused.value) or str(refused.value).startswith(option.partition(".")[2]), value


@pytest.mark.parametrize(("base", "options", "says"), TOGETHER)
def test_options_that_do_not_go_together_are_refused(
    begin: Callable[..., None], base: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(GraftworkError) as refused:
        begin(base, options)
    assert says in str(refused.value)


@pytest.mark.parametrize(("base", "options"), ENDS)
def test_an_option_at_its_end_trains(begin: Callable[..., None], base: str, options: dict[str, Any]) -> None:
    with pytest.raises(BeganError):
        begin(base, options)
