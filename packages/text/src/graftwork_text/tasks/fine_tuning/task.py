"""What every fine-tuning of a pretrained transformer on examples shares: batches, evaluation, facts.

Batches are tensors by name; every one has ``sample`` int64 [examples], the examples' numbers in their part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from graftwork import Choice, Direction, GraftworkError, Shorthand, Supplies
from graftwork_text.corpora import Source
from graftwork_text.corpora.remarks import Remark, counted
from graftwork_text.corpora.values import is_text, missing_column, shown
from graftwork_text.models.pretrained import Pretrained
from graftwork_text.tasks.fine_tuning.adaptation import Adaptation
from graftwork_text.tasks.fine_tuning.compute import ComputeOptions
from graftwork_text.tasks.fine_tuning.encoding import Batch, Encoded, TextEncoder
from graftwork_text.tasks.fine_tuning.objective import Objective
from graftwork_text.tasks.fine_tuning.selection import Parts, Selection, Split
from graftwork_trainer.attention import convert_attention
from graftwork_trainer.data.order import EndlessBatches, OrderedBatches
from graftwork_trainer.evaluation import evaluate
from graftwork_trainer.keeping_apart import told_copies
from graftwork_trainer.progress import tell_once

ExampleT = TypeVar("ExampleT")
ModelOption = Annotated[
    Choice | str | Callable[..., nn.Module], Supplies("head"), Shorthand("pretrained", "weights")
]
# A recipe gives a Choice; code may give any function that builds a mixer.
Attention = Choice | Callable[..., nn.Module]
AttentionOption = Annotated[Attention | None, Supplies("dim", "heads", "max_len", "layer_index")]


class FineTuningTask(ABC, Generic[ExampleT]):
    """A pretrained model and examples that a subclass reads, encodes and scores.

    Args:
        pretrained: the model.
        corpus: the data.
        objective: what is made small.
        selection: which examples of the data.
        adaptation: which parameters are trained.
        compute: precision, lengths and sizes of batches.
        attention: what takes the place of the model's self-attention; none to leave that.
    """

    unit = "examples"
    splits = ("train", "validation", "test")
    metric_directions: ClassVar[Mapping[str, Direction]]
    corpus: Source

    def __init__(
        self,
        *,
        pretrained: Pretrained,
        corpus: Source,
        objective: Objective,
        selection: Selection,
        adaptation: Adaptation,
        compute: ComputeOptions,
        attention: Attention | None = None,
    ) -> None:
        self.pretrained = pretrained
        self.objective: Objective = objective
        self.adaptation = adaptation
        self.corpus = corpus
        self._selection = selection
        self._compute = compute
        self._attention = attention
        self._encoded: dict[Split, Encoded] = {}

    @cached_property
    def parts(self) -> Parts[ExampleT]:
        """The examples of this experiment; drawn at first use."""
        parts = self.draw()
        for remark in self.remarks(parts):
            tell_once(f"{self.corpus.name}: {remark.told}")
        if parts.copies and parts.train:
            tell_once(f"{self.corpus.name}: {told_copies(parts.copies, 'examples', 'white space and case')}")
        if fewer := parts.smaller_than(self._selection):
            tell_once(f"{self.corpus.name} has {fewer}")
        return parts

    @abstractmethod
    def draw(self) -> Parts[ExampleT]:
        """Draw the examples of this experiment."""

    def remarks(self, parts: Parts[ExampleT]) -> Sequence[Remark]:
        """What was found in the data and among the examples that were drawn, to be told once and counted."""
        return ()

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Return the pretrained model, frozen and adapted as the options say."""

    def adapt(self, model: nn.Module, inner: nn.Module, fresh: Iterable[str]) -> nn.Module:
        """Replace the attention where that is asked for, then freeze and adapt as the options say.

        A new attention has to be learnt: beside low-rank adapters, which do not go into it, it is trained.

        Args:
            model: all of it, changed in place.
            inner: the part that is a model of transformers.
            fresh: names of the model's parameters that were drawn at random.

        Returns:
            The same model.

        Raises:
            GraftworkError: the attention cannot be replaced, or the options on training do not fit.
        """
        if self._attention is not None:
            before = set(model.modules())
            convert_attention(inner, self._attention, max_len=self.encoder.max_length)
            new = [(name, module) for name, module in model.named_modules() if module not in before]
            fresh = {
                *fresh,
                *(
                    f"{place}.{name}"
                    for place, module in new
                    for name, _ in module.named_parameters(recurse=False)
                ),
            }
        self.adaptation.apply(model, adapted=inner, fresh=fresh)
        return model

    @abstractmethod
    def encode(self, split: Split) -> Encoded:
        """Tokenize the examples of a part."""

    @abstractmethod
    def evaluate_rows(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return columns with an entry per example, ``sample`` among them."""

    @abstractmethod
    def metrics(self, rows: Mapping[str, Tensor]) -> dict[str, float]:
        """Make numbers of the columns of all examples."""

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own."""
        return self.pretrained.tokenizer()

    @cached_property
    def encoder(self) -> TextEncoder:
        """The tokenizer's parts; sequences are no longer than the model allows."""
        config = self.pretrained.config()
        wanted = self._compute.max_length
        positions = int(getattr(config, "max_position_embeddings", None) or wanted)
        # RoBERTa's kind keeps the first positions for padding, and its tokenizer knows.
        limit = min(positions, int(self.tokenizer.model_max_length))
        return TextEncoder(self.tokenizer, min(wanted, limit))

    def batches(self, split: Split, *, rank: int, world_size: int, seed: int) -> Iterable[Batch]:
        """Return this rank's batches, on the CPU.

        Args:
            split: ``train`` without end, each epoch in a new order (the iterator has ``skip(count)``);
                ``validation`` and ``test`` once, short examples first.
            rank: this process, from 0.
            world_size: number of processes; their batches are disjoint.
            seed: of the training order.

        Raises:
            ValueError: there is no such split.
            GraftworkError: all that there is to learn from is held out too.
        """
        if split not in ("train", "validation", "test"):
            raise ValueError(f"split must be 'train', 'validation' or 'test', got {split!r}")
        if split not in self._encoded:
            if not self.parts.of(split) and self.parts.copies:
                raise GraftworkError(
                    f"{self.corpus.name}: each of the {self.parts.copies:,} examples to learn from stands "
                    "among the held-out ones too (up to white space and case); give others to learn from, or "
                    "for the test"
                )
            # Training shuffles anyway; an evaluation pads less.
            self._encoded[split] = self.encode(split).shortest_first()
        examples, compute = self._encoded[split], self._compute
        if split == "train":
            return EndlessBatches(
                examples, batch_size=compute.batch_size, rank=rank, world_size=world_size, seed=seed
            )
        return OrderedBatches(
            examples, batch_size=compute.evaluation_batch_size, rank=rank, world_size=world_size
        )

    @classmethod
    def other_data(cls, data: str) -> dict[str, str | None]:
        """Return options with which all of other data is the test part."""
        parts = ("train_examples", "validation_examples", "test_examples", "validation_data")
        return {"data": data, "test_data": data, **dict.fromkeys(parts)}

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer as transformers has it."""
        self.tokenizer.save_pretrained(folder)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return the metrics on the validation examples, in this process alone.

        Args:
            model: on any device; the modes of its modules are restored.
        """
        return evaluate(self, model)

    def test_metrics(self, model: nn.Module) -> dict[str, float]:
        """Return the same metrics on the test examples, which nothing else reads.

        Args:
            model: on any device; the modes of its modules are restored.
        """
        return evaluate(self, model, "test")

    def count(self, batch: Mapping[str, Tensor]) -> int:
        """How many examples a batch holds."""
        return batch["sample"].numel()

    def facts(self) -> dict[str, str | int | float]:
        """What data and model are: names, versions, digests and sizes, as plain data."""
        return {
            "corpus": self.corpus.name,
            **{f"corpus_{name}": value for name, value in self.corpus.identity.items()},
            **self.parts.facts(),
            **counted(self.remarks(self.parts)),
            "data_seed": self._selection.data_seed,
            "model": self.pretrained.name,
            **{f"model_{name}": value for name, value in self.pretrained.identity.items()},
            "max_length": self.encoder.max_length,
            **({} if self._attention is None else {"attention": _name_of(self._attention)}),
        }


def _name_of(attention: Attention) -> str:
    if isinstance(attention, Choice):
        return attention.entry.component.name
    return str(getattr(attention, "__qualname__", attention))


def texts_in(row: Mapping[str, Any], fields: Sequence[str]) -> tuple[str, ...]:
    """The texts of a row; of a task that reads one alone, ``text`` will do whatever it calls it.

    Raises:
        GraftworkError: one is missing.
    """
    texts = [row.get(field) for field in fields]
    if len(fields) == 1 and texts[0] is None:
        texts = [row.get("text")]
    for field, text in zip(fields, texts, strict=True):
        if not is_text(text):
            raise GraftworkError(
                f"the text in column {field!r} is {shown(text)}, and must be a text"
                if field in row
                else missing_column(row, field)
            )
    return tuple(map(str, texts))
