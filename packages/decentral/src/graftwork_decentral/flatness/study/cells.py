"""The runs of a study: every method on every graph with every batch size and seed.

Centralized is diffusion on the full graph with all agents equal at the start, exactly; it has no graph of its
own to be crossed with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graftwork import Choice, GraftworkError, Task, choose
from graftwork_decentral.flatness.study.rows import CellKey
from graftwork_decentral.strategies.strategy import Strategy
from graftwork_decentral.topology.graphs import full
from graftwork_decentral.topology.topology import GraphSequence, Topology

CENTRALIZED = "centralized"
Reference = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Arm:
    """A method on a graph.

    Args:
        method: what to call it.
        graph: what to call that.
        strategy: that brings agents together.
        graphs: who exchanges with whom, lazy where the strategy would diverge otherwise.
    """

    method: str
    graph: str
    strategy: Strategy
    graphs: GraphSequence

    @property
    def gap(self) -> float | None:
        """Of the mixing matrix, where it does not change."""
        return self.graphs.gap if isinstance(self.graphs, Topology) else None


@dataclass(frozen=True, slots=True)
class Cell:
    """One run."""

    arm: Arm
    batch_size: int
    seed: int

    @property
    def key(self) -> CellKey:
        """What tells it from the others."""
        return self.arm.method, self.arm.graph, self.batch_size, self.seed


def arms_of(methods: Sequence[Reference], graphs: Sequence[Reference], agents: int) -> list[Arm]:
    """Return every method on every graph, centralized once.

    Args:
        methods: ``centralized``, or names of registered strategies, or tables with name and options.
        graphs: names of registered topologies, or tables.
        agents: how many.

    Raises:
        GraftworkError: a name or an option is wrong, or a strategy cannot be used on a graph.
        ValueError: a method or a graph is given twice.

    >>> [(arm.method, arm.graph) for arm in arms_of(["centralized", "diffusion"], ["ring", "star"], 4)]
    [('centralized', 'full'), ('diffusion', 'ring'), ('diffusion', 'star')]
    """
    for name, references in (("methods", methods), ("graphs", graphs)):
        labels = [label_of(reference) for reference in references]
        if len(set(labels)) < len(labels):
            raise ValueError(f"{name} must not name one thing twice, got {labels}")
    topologies = {label_of(graph): _chosen("topology", graph)(agents) for graph in graphs}
    arms = []
    for method in methods:
        if method == CENTRALIZED:
            diffusion: Strategy = _chosen("strategy", "diffusion")()
            arms.append(Arm(CENTRALIZED, "full", diffusion, full(agents)))
            continue
        strategy: Strategy = _chosen("strategy", method)()
        for label, topology in topologies.items():
            arms.append(Arm(label_of(method), label, strategy, strategy.suited(topology)))
    return arms


def label_of(reference: Reference) -> str:
    """Return a name with the options that were given.

    >>> label_of({"name": "ring", "lazy": True}), label_of("star")
    ('ring lazy=true', 'star')
    """
    if isinstance(reference, str):
        return reference
    options = [f"{key}={_word(value)}" for key, value in reference.items() if key != "name"]
    return " ".join([str(reference.get("name")), *options])


def task_of_batch_size(task: Choice | Callable[..., Task], option: str, batch_size: int) -> Task:
    """Build a task with a batch size.

    Args:
        task: what to build.
        option: of the task, that sets how many samples a batch of one agent has.
        batch_size: for it.

    Raises:
        GraftworkError: the task has no such option.
    """
    require_option(task, option)
    built: Task = task(**{option: batch_size})
    return built


def require_option(task: Choice | Callable[..., Task], option: str) -> None:
    """Refuse a task that lacks an option.

    Raises:
        GraftworkError: it does.
    """
    target = task.target if isinstance(task, Choice) else task
    parameters = inspect.signature(target).parameters
    if option not in parameters and not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        name = task.entry.component.reference if isinstance(task, Choice) else getattr(task, "__name__", task)
        raise GraftworkError(
            f"study.batch_option: {name} has no option {option!r}; name the one that sets the batch size of "
            f"an agent (its options: {', '.join(parameters) or 'none'})"
        )


def described(choice: Any) -> Any:
    """Return a component with its options as plain data; of anything else that is called its name.

    >>> described(dict)
    'builtins.dict'
    """
    if not isinstance(choice, Choice):
        return f"{getattr(choice, '__module__', '')}.{getattr(choice, '__qualname__', type(choice).__name__)}"
    table = {key: _plain(value) for key, value in choice.table.items()}
    given = {key: _plain(value) for key, value in {**choice.options, **choice.companion_options}.items()}
    return {"name": choice.name, **table, **given}


def cells_of(arms: Sequence[Arm], batch_sizes: Sequence[int], seeds: Sequence[int]) -> Iterator[Cell]:
    """Yield runs seed by seed, so that what ended early holds whole comparisons."""
    for seed in seeds:
        for batch_size in batch_sizes:
            for arm in arms:
                yield Cell(arm, batch_size, seed)


def _chosen(kind: str, reference: Reference) -> Choice:
    if isinstance(reference, str):
        return choose(kind, reference)
    if not isinstance(reference.get("name"), str):
        option = "graphs" if kind == "topology" else "methods"
        raise GraftworkError(
            f'study.{option}: a table must have a name, like {{name = "..."}}, got {dict(reference)!r}'
        )
    return choose(kind, reference["name"], {key: reference[key] for key in reference if key != "name"})


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return described(value) if isinstance(value, Choice) or callable(value) else str(value)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
