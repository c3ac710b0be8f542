"""The contracts between packages, as torch-free protocols.

An optimizer needs none: it is a ``torch.optim.Optimizer`` whose class attribute ``closure`` says what
``step`` must be given. ``None``: nothing, gradients lie in ``.grad``. ``"loss"``: a function that returns the
loss without a backward pass (zeroth order). ``"gradient"``: a function that computes loss and gradients at
the current parameters, with the same batch each time (variance reduction).

Where an optimizer has them, a trainer also uses: ``attach(model)``, called once with the module whose
parameters it was given, not wrapped; ``eval()`` and ``train()``, around every evaluation, for weights to
evaluate that are not those trained; and an option ``data_parallel``, which is given as ``"average"`` under
several processes to an optimizer of losses that averages over them by itself (``"probes"``: its processes
want the same batches).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from graftwork.resolution import Resolved

Split = Literal["train", "validation"]


@runtime_checkable
class Task(Protocol):
    """What a trainer can train: a model, batches, a loss and metrics.

    A task knows nothing of optimizers, devices or ranks beyond its arguments. Three further members are used
    where a task has them: ``unit`` with ``count(batch)`` (``"tokens"`` and how many a batch holds, for
    throughput), ``facts()`` (plain data on the data, kept with the run), and ``skip(count)`` on the iterable
    that ``batches`` returns (so that resuming need not draw the batches already seen).
    """

    def build_model(self) -> Any:
        """Return the model (``torch.nn.Module``) with fresh weights from torch's global generator."""
        ...

    def batches(self, split: Split, *, rank: int, world_size: int, seed: int) -> Iterable[Any]:
        """Return this rank's batches: for ``train`` without end, and the same ones for the same arguments."""
        ...

    def loss(self, model: Any, batch: Any) -> tuple[Any, Mapping[str, Any]]:
        """Return the mean loss of a batch (a scalar tensor) and further metrics."""
        ...

    def evaluate(self, model: Any) -> Mapping[str, float]:
        """Return metrics on held-out data; ``loss`` among them."""
        ...


class Outcome(Protocol):
    """What a step leaves for the log, still on the device."""

    loss: Any
    """Mean over the step's micro-batches, before the update."""

    gradient_norm: Any
    """Before clipping; None where there are no gradients."""

    metrics: Mapping[str, Any]
    """The task's own."""


class Procedure(Protocol):
    """How a trainer takes its steps, for a training loop to drive: the loop logs, evaluates and saves."""

    unit: str
    """Of throughput, ``tokens`` for instance."""

    @property
    def model(self) -> Any:
        """The module that a checkpoint holds."""
        ...

    @property
    def optimizer(self) -> Any:
        """Over that module; the loop schedules its groups' ``lr`` and saves its state."""
        ...

    @property
    def device(self) -> Any:
        """Where losses are."""
        ...

    @property
    def units(self) -> int:
        """Trained on in the latest step, in all processes."""
        ...

    @property
    def position(self) -> int:
        """Steps taken so far; where others were ahead, one step may take it further than by one."""
        ...

    def start(self, step: int) -> None:
        """Take up the data after so many steps; called once, when a checkpoint has been loaded."""
        ...

    def step(self) -> Outcome:
        """Take one step."""
        ...

    def mean(self, value: Any) -> Any:
        """The mean of a scalar over processes."""
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Metrics on held-out data; ``loss`` among them."""
        ...

    def measurements(self) -> Mapping[str, float]:
        """Further metrics for a record, asked for whenever the loop makes one."""
        ...

    def result(self) -> Mapping[str, Any]:
        """Further facts for the run's result, over the loop's own."""
        ...


@runtime_checkable
class Run(Protocol):
    """The directory of one training run, as a trainer sees it.

    Every rank holds one; which of them write is the run's business, not the trainer's.
    ``checkpoints.save(step, model, optimizer, state)`` writes a checkpoint that is whole or absent.
    """

    directory: Path
    resume: bool
    checkpoints: Any

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add plain data on the environment, before :meth:`start`."""
        ...

    def start(self, model: Any, optimizer: Any, device: Any) -> dict[str, Any]:
        """Load the newest checkpoint where the run resumes; return its state, ``{"step": 0}`` otherwise."""
        ...

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append metrics (``train/loss`` and the like) of one step."""
        ...

    def progress(self, start: int, total: int, unit: str) -> Any:
        """Return a progress bar over steps, a context manager with ``advance``, ``show`` and ``say``."""
        ...

    def finish(self, status: str, result: Mapping[str, Any]) -> None:
        """Write how the run ended."""
        ...


@runtime_checkable
class Trainer(Protocol):
    """A way of training any task.

    Where a trainer has ``connects_itself`` and it is true, no process group is made for it: its processes
    find each other without.
    """

    def fit(self, task: Task, recipe: Resolved, run: Run) -> None:
        """Train to the end, or raise :class:`graftwork.GraftworkError` with what was saved loadable."""
        ...
