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
Direction = Literal["lower", "higher"]


@runtime_checkable
class Task(Protocol):
    """What a trainer can train: a model, data, a loss, and metrics on held-out data.

    A task knows nothing of optimizers, devices or ranks beyond its arguments. It gives its data in one of
    two ways.

    As samples: ``dataset(split)`` returns a torch dataset, map-style or iterable, and ``batch_size`` and
    ``collate(samples)`` (torch's where it is left out) say how a batch is made of it. The trainer keeps the
    order, the position, the worker processes, and seeds torch's, NumPy's and Python's global generators for
    each sample.

    Or as batches: see :meth:`batches`; a torch DataLoader does, and is taken over where its sampler is one of
    torch's plain ones.

    It is evaluated in one of two ways; the trainer sets ``eval()`` and ``no_grad()`` around either.

    By rows: ``evaluate_rows(model, batch)`` returns a mapping of columns (tensors or lists), each with one
    entry per example of the batch, and ``metrics(rows)`` makes numbers of the whole columns, ``loss`` among
    them. The trainer spreads the batches over ranks, brings all rows back in order, each once, and calls
    ``metrics`` once: so that metrics which are no means (F1, rank correlation, perplexity) do not depend on
    the number of processes. A column ``sample`` (whole numbers), where there is one, numbers the examples:
    rows are sorted by it, and of rows with one number the first is kept.

    Or by ``evaluate(model)``, which returns the metrics; it runs as a whole on rank 0, and its result is sent
    to the others (sharded models: on every rank, since all take part in each pass).

    Further members are used where a task has them:

    ==================================  ================================================================
    member                              default
    ==================================  ================================================================
    ``metric_directions``               ``{"loss": "lower"}``: which way is better, ``"lower"`` or
                                        ``"higher"``, in order of importance; a metric that is not named
                                        has no direction, and no report calls a value of it the best
    ``parameter_groups(model)``         one group of all trainable parameters: a list of dictionaries,
                                        ``params`` and settings that go over the optimizer's
    ``artefacts(model, folder)``        none: pictures, tables (``.csv``), texts and pages about the
                                        trained model, written for the report when training has ended
    ``unit``, ``count(batch)``          ``"samples"``, 1: what throughput counts, and how many a batch has
    ``facts()``                         nothing: plain data that identify the data (digests of what it says),
                                        kept with the run; resuming refuses other ones
    ``save_assets(folder)``             nothing: files without which the trained weights are of no use (a
                                        tokenizer, names of labels), kept in ``RUN/model/`` with them; written
                                        once, by the first process, before training
    ``load_assets(folder)``             nothing: called before all else where training starts from other
                                        weights (``trainer.start_from``), with the folder of theirs, which
                                        may lack what is looked for: a task takes over what makes the weights
                                        mean the same, and a run that goes on gets its own back
    ``dataset(split)``, ``batch_size``  ``batches``, which may be left out where there are these
    ``collate(samples)``                with ``dataset``: torch's ``default_collate``
    ``batches(...)`` with ``position``  resuming passes over as many batches as were drawn, whatever is in
    and ``seek(position)``              them; the position counts the samples that all ranks have taken
    ``predict(model, inputs)``          none, and ``graftwork predict`` refuses: a mapping of plain data for
                                        each of a batch of inputs; its keyword-only parameters are options,
                                        ``--set predict.NAME=VALUE``. What is wrong with an input is a
                                        ``GraftworkError`` or ``ValueError``, told with its line
    ``predict_inputs``                  ``"row"``: mappings, of a line of text ``{"text": ...}``; ``"path"``:
                                        of files
    ``splits``                          ``("train", "validation")``: the parts that ``batches`` or ``dataset``
                                        gives; ``graftwork evaluate --split test`` wants ``"test"`` among them
    ``other_data(data)``                of the class, ``{"data": data}`` as validation part: options with
                                        which all of other data is the test part, for ``graftwork evaluate``
    ``batches(...)`` with ``skip``      resuming draws the batches already seen and lets them go
    ``smallest(folder)``                of the class, the defaults: options (``model`` among them) with which
                                        it trains in seconds on data that it makes in a folder, for tests
    ==================================  ================================================================

    Norms and biases are spared weight decay, in every group that states none of its own, see
    :mod:`graftwork.weight_decay`.
    """

    def build_model(self) -> Any:
        """Return the model (``torch.nn.Module``) with fresh weights from torch's global generator."""
        ...

    def batches(self, split: Split, *, rank: int, world_size: int, seed: int) -> Iterable[Any]:
        """Return batches on the CPU.

        For ``train`` this rank's, without end, and the same ones for the same arguments, from a generator of
        their own; of a DataLoader one epoch, which the trainer repeats. For ``validation`` every
        ``world_size``-th from number ``rank`` on, once and in order: a sequence, where making a batch costs
        something, so that each rank makes its own alone.
        """
        ...

    def loss(self, model: Any, batch: Any) -> tuple[Any, Mapping[str, Any]]:
        """Return the mean loss of a batch (a scalar tensor) and further metrics."""
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

    def fit(self, task: Task, recipe: Resolved, run: Run) -> Any:
        """Train to the end and return the trained model (``torch.nn.Module``).

        Raises:
            GraftworkError: it ended before; what was saved can be loaded.
        """
        ...
