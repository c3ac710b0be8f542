"""The study: trains and measures what is not yet in its folder, one row a run."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graftwork import Choice, GraftworkError, Task
from graftwork_decentral.agents.optimizer import DecentralizedOptimizer, Unsuited
from graftwork_decentral.flatness.metrics import ParameterSpec, noiseless_descent
from graftwork_decentral.flatness.study.cells import (
    CENTRALIZED,
    Arm,
    Cell,
    arms_of,
    cells_of,
    described,
    require_option,
    task_of_batch_size,
)
from graftwork_decentral.flatness.study.data import MeasuringData
from graftwork_decentral.flatness.study.measures import MEASURES, Effort, Measure, Measurement
from graftwork_decentral.flatness.study.rows import Row, RowStore
from graftwork_decentral.flatness.study.starts import read_start, write_start
from graftwork_decentral.flatness.study.training import agents_at, train

_START_STREAM = 1_000_000
_NAMED_IN_ROWS = ("methods", "batch_sizes", "graphs", "seeds")
_NO_SETTINGS = ("self", "task", "optimizer", "effort", "device", "threads", *_NAMED_IN_ROWS)


class FlatnessStudy:
    """Methods, graphs, batch sizes and seeds compared on one task with one optimizer.

    All agents start from the same random weights, the same for all methods of a seed; or, with
    ``start_steps``, from a common point that centralized training has reached, which methods then leave. A
    strategy that would diverge on a graph gets lazy weights there.

    Args:
        task: what to train on; its own batch size is replaced.
        optimizer: the local move of every agent, with a constant rate unless it schedules itself.
        methods: centralized, and strategies by name or as tables with options.
        batch_sizes: samples of one agent and step.
        graphs: topologies by name or as tables with options.
        seeds: a run each.
        agents: how many.
        steps: of every agent.
        start_steps: of centralized training before; 0 for random weights.
        start_batch_size: of that training; none for the largest of batch_sizes.
        start_descent: steps of gradient descent without noise after it, so that methods leave a minimum.
        measure: what to measure besides the training loss.
        measure_batch_size: samples of one agent's batch to measure on; its whole part where a task gives it.
        measure_batches: such batches an agent.
        effort: how much each measure may take.
        batch_option: the option of the task that sets its batch size.
        unsuited: what to do about a correction that the optimizer undoes: refuse or warn.
        device: auto for the GPU where there is one.
        threads: of torch on the CPU while the study runs (1 for small models); none to change nothing.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: a name is unknown, or a strategy cannot be used on a graph.
    """

    def __init__(
        self,
        *,
        task: Choice | Callable[..., Task],
        optimizer: Choice | Callable[[nn.Module], torch.optim.Optimizer],
        methods: tuple[str | dict[str, Any], ...] = (CENTRALIZED, "diffusion", "consensus"),
        batch_sizes: tuple[int, ...] = (32,),
        graphs: tuple[str | dict[str, Any], ...] = ("ring",),
        seeds: tuple[int, ...] = (0,),
        agents: int = 8,
        steps: int = 1000,
        start_steps: int = 0,
        start_batch_size: int | None = None,
        start_descent: int = 0,
        measure: tuple[Measure, ...] = MEASURES,
        measure_batch_size: int = 256,
        measure_batches: int = 1,
        effort: Effort = Effort(),
        batch_option: str = "batch_size",
        unsuited: Unsuited = "refuse",
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {
            **{name: value for name, value in locals().items() if name not in _NO_SETTINGS},
            **asdict(effort),
        }
        at_least: tuple[tuple[str, int, int], ...] = (
            ("agents", agents, 2),
            ("steps", steps, 0),
            ("start_steps", start_steps, 0),
            ("start_descent", start_descent, 0),
            ("measure_batch_size", measure_batch_size, 1),
            ("measure_batches", measure_batches, 1),
            *(("batch_sizes", size, 1) for size in batch_sizes),
            *(("seeds", seed, 0) for seed in seeds),
            *(() if start_batch_size is None else (("start_batch_size", start_batch_size, 1),)),
            *(() if threads is None else (("threads", threads, 1),)),
        )
        for name, number, least in at_least:
            if number < least:
                raise ValueError(f"{name} must be {least} or more, got {number}")
        for name, length in (
            ("methods", methods),
            ("batch_sizes", batch_sizes),
            ("graphs", graphs),
            ("seeds", seeds),
        ):
            if not length:
                raise ValueError(f"{name} must name at least one, got none")
        unknown = [one for one in measure if one not in MEASURES]
        if unknown:
            raise ValueError(f"measure must hold only {', '.join(MEASURES)}, got {', '.join(unknown)}")
        require_option(task, batch_option)
        self.task, self.optimizer, self.agents, self.steps = task, optimizer, agents, steps
        self.arms = arms_of(methods, graphs, agents)
        self.cells = list(cells_of(self.arms, [*dict.fromkeys(batch_sizes)], [*dict.fromkeys(seeds)]))
        self.start_steps, self.start_descent = start_steps, start_descent
        self.start_batch_size = start_batch_size or max(batch_sizes)
        self.measure = measure
        self.effort = effort
        self._measured_on = measure_batch_size, measure_batches
        self._batch_option = batch_option
        self._unsuited: Unsuited = unsuited
        self._device = _device(device)
        self._threads = threads
        self._tasks: dict[int, Task] = {}
        self._data: MeasuringData | None = None
        self._started: tuple[int, nn.Module, float | None] | None = None
        # So that what it lacks is said before anything trains.
        self._task(self.start_batch_size)

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that rows depend on besides their cells, as plain data."""
        task = described(self.task)
        if isinstance(task, dict):
            task.pop(self._batch_option, None)
        start = {"start_batch_size": self.start_batch_size if self._starts_trained else None}
        return {**self._settings, **start, "task": task, "optimizer": described(self.optimizer)}

    @property
    def _starts_trained(self) -> bool:
        return self.start_steps > 0 or self.start_descent > 0

    def run(self, output: Path, *, say: Callable[[str], None] = lambda line: None) -> list[Row]:
        """Train and measure every run that the folder lacks.

        Each row is on disk as soon as its run has ended: what an error or a kill interrupts is that one run.

        Args:
            output: folder for ``study.json``, ``rows.jsonl`` and ``rows.csv``, and ``starts`` with the common
                starting points.
            say: is told of every run.

        Returns:
            The study's rows, seed by seed.

        Raises:
            GraftworkError: the folder holds another study's rows or a damaged start, or a strategy does not
                go with the optimizer.
        """
        store = RowStore(output, self.settings)
        threads_before = torch.get_num_threads()
        torch.set_num_threads(self._threads or threads_before)
        try:
            for number, cell in enumerate(self.cells, start=1):
                name = f"{cell.arm.method}, {cell.arm.graph}, batch {cell.batch_size}, seed {cell.seed}"
                if cell.key in store:
                    say(f"[{number}/{len(self.cells)}] {name}: already there")
                    continue
                row = self._row(cell, output)
                store.add(row)
                loss = row.measures.get("train_loss_agents")
                result = row.status if loss is None else f"training loss {loss:.4g}"
                say(f"[{number}/{len(self.cells)}] {name}: {result}, {row.seconds:.1f} s")
        finally:
            torch.set_num_threads(threads_before)
            store.write_csv()
        return [store[cell.key] for cell in self.cells]

    def _row(self, cell: Cell, output: Path) -> Row:
        start, start_loss = self._start(cell.seed, output)
        begun = time.perf_counter()
        task, arm = self._task(cell.batch_size), cell.arm
        optimizer = self._agents(start, task, arm, self.steps)
        finite = train(task, optimizer, steps=self.steps, seed=cell.seed)
        measures: dict[str, float] = {}
        if finite:
            measurement = Measurement(
                task, cell.batch_size, optimizer, arm.method, self._measuring(), self.effort
            )
            measures = measurement.take(self.measure, start_loss)
        return Row(
            arm.method,
            arm.graph,
            arm.gap,
            self.agents,
            cell.batch_size,
            cell.seed,
            self.steps,
            "finished" if finite else "diverged",
            time.perf_counter() - begun,
            measures,
        )

    def _start(self, seed: int, output: Path) -> tuple[nn.Module, float | None]:
        """The model that all agents of a seed start from, and J there where it was trained."""
        if self._started is None or self._started[0] != seed:
            torch.manual_seed(seed)
            model = self._task(self.start_batch_size).build_model().to(self._device)
            loss = None
            if self._starts_trained:
                path = output / "starts" / f"seed-{seed}.safetensors"
                if path.exists():
                    model.load_state_dict(read_start(path, model.state_dict()))
                else:
                    model = self._trained_start(model, seed)
                    write_start(path, model.state_dict())
                loss = self._measuring().loss(model)
            self._started = seed, model, loss
        return self._started[1], self._started[2]

    def _trained_start(self, model: nn.Module, seed: int) -> nn.Module:
        arm = arms_of([CENTRALIZED], [], self.agents)[0]
        task = self._task(self.start_batch_size)
        optimizer = self._agents(model, task, arm, self.start_steps)
        if not train(task, optimizer, steps=self.start_steps, seed=_START_STREAM + seed):
            raise GraftworkError(
                f"seed {seed}: the training loss before the common start is not finite; use a smaller "
                "learning rate"
            )
        reached = copy.deepcopy(optimizer.bank.models[0])
        spec = ParameterSpec.of(reached)
        point, _ = noiseless_descent(
            self._measuring().objective(reached),
            spec.flatten(reached),
            steps=self.start_descent,
            learning_rate=self.effort.descent_rate,
        )
        reached.load_state_dict({**reached.state_dict(), **spec.unflatten(point)})
        return reached

    def _agents(self, start: nn.Module, task: Task, arm: Arm, steps: int) -> DecentralizedOptimizer:
        return agents_at(
            start, task, self.optimizer, arm.strategy, arm.graphs, steps=steps, unsuited=self._unsuited
        )

    def _task(self, batch_size: int) -> Task:
        if batch_size not in self._tasks:
            self._tasks[batch_size] = task_of_batch_size(self.task, self._batch_option, batch_size)
        return self._tasks[batch_size]

    def _measuring(self) -> MeasuringData:
        if self._data is None:
            size, batches = self._measured_on
            self._data = MeasuringData(self._task(size), self.agents, batches, self._device)
        return self._data


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device must be auto or cpu where there is no GPU, got {name!r}")
    return device
