"""Pre-training of a causal language model: predict the next token of packed text.

The loss is the mean cross-entropy in nats per token, on float32 logits. Batches hold ``input_ids`` and
``targets``, both int64 [batch_size, sequence_length]; the model is called with ``input_ids`` and returns
logits [batch_size, sequence_length, vocabulary], or an object that has them as ``logits``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from graftwork import Choice, Direction, GraftworkError, Supplies
from graftwork_text.corpora import find_corpus
from graftwork_text.models.pretrained_lm import brought_with
from graftwork_text.sources import smallest
from graftwork_text.tasks.language_model.continuations import logits_of, write_continuations
from graftwork_text.tasks.language_model.packing import PackedSequences
from graftwork_text.tasks.language_model.token_cache import (
    TokenizedCorpus,
    open_tokenized,
    tokens_with_bytes,
)
from graftwork_text.tasks.language_model.tokenization import (
    SMALLEST_VOCABULARY,
    TextTokenizer,
    copy_tokenizer,
    load_tokenizer,
)
from graftwork_text.tasks.language_model.writing import (
    chosen_by,
    declare_end,
    longest_sequence,
    text_in,
    written_continuations,
)
from graftwork_trainer.data.order import EndlessBatches, OrderedBatches
from graftwork_trainer.evaluation import evaluate
from graftwork_trainer.keeping_apart import HELD_OUT_COPIES, told_copies
from graftwork_trainer.progress import tell_once


class LanguageModelPretraining:
    """Predict the next token of a text.

    Documents are split into training and held-out ones by a stable hash of their names, tokenized once, and
    joined with end-of-text tokens; the result is kept in a cache.

    Rows hold the summed ``nats`` of each sequence, how many ``tokens`` it predicts and their ``text_bytes``.

    Args:
        model: what to train; it is built with the tokenizer's vocab_size.
        data: installed-prose (no download), bbc-news, news-articles or wikipedia-excerpt, or another
            registered name; or the path of a .txt, .md or .jsonl file or of a folder of them.
        sequence_length: tokens that the model sees and predicts at once, as far as the text has so many.
        batch_size: sequences in a batch of one process.
        vocabulary_size: tokens of the byte-level BPE that is trained on the training documents, where there
            is no other tokenizer.
        test_data: other text of the same kinds, all of which is the test part; none for no such part.
        tokenizer: path of a tokenizer.json, or of a folder that transformers' AutoTokenizer loads; none for
            that of the weights, or of the run, that training starts from.
        validation_fraction: expected share of held-out documents.
        evaluation_tokens: held-out tokens that one evaluation predicts, at most.
        cache: folder of the tokenized text; by default lm-pretrain in Graftwork's cache.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: data is neither a corpus of documents nor a path.
    """

    unit = "tokens"
    metric_directions: ClassVar[Mapping[str, Direction]] = {
        "perplexity": "lower",
        "bits_per_byte": "lower",
        "loss": "lower",
    }

    def __init__(
        self,
        *,
        # A recipe gives a Choice; code may give any function of vocab_size.
        model: Annotated[Choice | Callable[..., nn.Module], Supplies("vocab_size")],
        data: str = "installed-prose",
        sequence_length: int = 128,
        batch_size: int = 16,
        vocabulary_size: int = 2048,
        tokenizer: str | None = None,
        validation_fraction: float = 0.05,
        evaluation_tokens: int = 32768,
        cache: Path | None = None,
        test_data: str | None = None,
    ) -> None:
        for option, value in {"sequence_length": sequence_length, "batch_size": batch_size}.items():
            if value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        if vocabulary_size < SMALLEST_VOCABULARY:
            raise ValueError(
                f"vocabulary_size must be at least {SMALLEST_VOCABULARY} (256 bytes and end-of-text), "
                f"got {vocabulary_size}"
            )
        if not 0 < validation_fraction < 1:
            raise ValueError(f"validation_fraction must lie between 0 and 1, got {validation_fraction}")
        if evaluation_tokens < sequence_length:
            raise ValueError(
                f"evaluation_tokens must be at least sequence_length = {sequence_length}, "
                f"got {evaluation_tokens}"
            )
        self._model = model
        self._corpus = find_corpus(data)
        self._test_corpus = None if test_data is None else find_corpus(test_data)
        self._sequence_length = sequence_length
        self._batch_size = batch_size
        self._vocabulary_size = vocabulary_size
        self._weights = brought_with(model)
        if self._weights is not None and tokenizer:
            raise GraftworkError(
                f"task.tokenizer must be left out with model {self._weights.name!r}, whose weights are "
                f"of its own tokenizer; got {tokenizer!r}"
            )
        self._tokenizer = Path(tokenizer).expanduser() if tokenizer else None
        self._taken_over: Path | None = None
        self._validation_fraction = validation_fraction
        self._evaluation_tokens = evaluation_tokens
        self._cache = cache

    @classmethod
    def smallest(cls, folder: Path) -> dict[str, Any]:
        """Return options with which it trains in seconds, on data that is made in the folder."""
        sizes = {"hidden_size": 16, "intermediate_size": 32, "layers": 1, "heads": 2}
        return {
            "model": {"name": "llama-tiny", **sizes},
            "data": smallest.texts(folder),
            "sequence_length": 16,
            "batch_size": 4,
            "vocabulary_size": 280,
            "validation_fraction": 0.2,
            "evaluation_tokens": 128,
            "cache": str(folder / "cache"),
        }

    @classmethod
    def other_data(cls, data: str) -> dict[str, Any]:
        """Return options with which all of other text is the test part."""
        return {"test_data": data}

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts that there are."""
        return ("train", "validation", *(["test"] if self._test_corpus is not None else []))

    def load_assets(self, folder: Path) -> None:
        """Split text as the weights in use were trained to see it, unless the recipe says otherwise.

        Args:
            folder: that may have a ``tokenizer.json``.
        """
        if (folder / "tokenizer.json").is_file():
            self._taken_over = folder

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer as transformers has it; of one from a folder all that lay there."""
        source = self._tokenizer_source()
        if source is not None and source.is_dir():
            copy_tokenizer(source, folder)
        else:
            self.text_tokenizer.save_folder(folder)

    @cached_property
    def text_tokenizer(self) -> TextTokenizer:
        """Splits text into tokens. No text is read for one that there is."""
        source = self._tokenizer_source()
        return self.tokenized.tokenizer() if source is None else load_tokenizer(source)

    @cached_property
    def tokenized(self) -> TokenizedCorpus:
        """The text as tokens; made at first use."""
        tokenized = open_tokenized(
            self._corpus,
            tokenizer=self._tokenizer_source(),
            vocabulary_size=self._vocabulary_size,
            validation_fraction=self._validation_fraction,
            cache=self._cache,
            test=self._test_corpus,
        )
        if copies := tokenized.counts.get(HELD_OUT_COPIES):
            tell_once(f"{self._corpus.name}: {told_copies(copies, 'paragraphs', 'white space and case')}")
        return tokenized

    def build_model(self) -> nn.Module:
        """Return the model with fresh weights from torch's global generator, or with those that it brings.

        Raises:
            GraftworkError: the model is of shorter sequences.
        """
        model: nn.Module = self._model(vocab_size=self.text_tokenizer.vocabulary)
        longest = getattr(getattr(model, "config", None), "max_position_embeddings", None)
        if longest is not None and longest < self._sequence_length:
            why = "the positions that the model has"
            if self._weights is not None:
                why = f"for which model {self._weights.name!r} was trained"
            raise GraftworkError(
                f"task.sequence_length must be at most {longest}, {why}; got {self._sequence_length}"
            )
        declare_end(model, self.text_tokenizer.end_of_text)
        return model

    def batches(
        self, split: Literal["train", "validation", "test"], *, rank: int, world_size: int, seed: int
    ) -> Iterable[dict[str, Tensor]]:
        """Return this rank's batches, on the CPU.

        Args:
            split: ``train`` without end, each epoch in a new order (the iterator has ``skip(count)``);
                ``validation`` once, in order, as many tokens as an evaluation reads; ``test`` once, all of
                ``test_data``.
            rank: this process, from 0.
            world_size: number of processes; their batches are disjoint.
            seed: of the training order.

        Raises:
            GraftworkError: the split has not even two tokens.
            ValueError: there is no such split.
        """
        if split not in self.splits:
            raise ValueError(f"split must be {' or '.join(map(repr, self.splits))}, got {split!r}")
        if split == "train":
            return EndlessBatches(
                self._training_sequences,
                batch_size=self._batch_size,
                rank=rank,
                world_size=world_size,
                seed=seed,
            )
        held_out = self._validation_sequences if split == "validation" else self._test_sequences
        return OrderedBatches(
            held_out,
            batch_size=self._batch_size,
            count=self._evaluated_sequences if split == "validation" else len(held_out),
            rank=rank,
            world_size=world_size,
        )

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean cross-entropy of a batch, in nats per token, and no further metrics.

        Args:
            model: on the batch's device.
            batch: ``input_ids`` and ``targets``.
        """
        return _nats(model, batch, "mean"), {}

    def evaluate_rows(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the summed nats of each held-out sequence, the tokens that it predicts and their bytes."""
        nats = _nats(model, batch, "none").view_as(batch["targets"])
        tokens = batch["text_bytes"].new_full((len(nats),), nats.shape[1])
        return {"nats": nats.double().sum(1), "tokens": tokens, "text_bytes": batch["text_bytes"]}

    def metrics(self, rows: Mapping[str, Tensor]) -> dict[str, float]:
        """Return ``loss`` (nats per token), ``perplexity`` and ``bits_per_byte`` of all held-out sequences.

        All tokens weigh the same. ``bits_per_byte`` does not depend on the tokenizer: the nats of every
        predicted token, end-of-text too, over the UTF-8 bytes of the predicted text.
        """
        nats = math.fsum(rows["nats"].tolist())
        loss = nats / int(rows["tokens"].sum())
        return {
            "loss": loss,
            "perplexity": math.exp(loss) if loss < 700 else math.inf,
            "bits_per_byte": nats / math.log(2) / max(int(rows["text_bytes"].sum()), 1),
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return the metrics on held-out text, in this process alone.

        Args:
            model: on any device; the modes of its modules are restored.
        """
        return evaluate(self, model)

    def predict(
        self,
        model: nn.Module,
        inputs: Sequence[Mapping[str, Any]],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[dict[str, str]]:
        """Return the ``continuation`` of each ``text``, up to the end of the text.

        Args:
            model: in evaluation mode.
            inputs: rows with ``text``; of one that is too long the end is read.
            max_new_tokens: tokens to write at most.
            temperature: of the distribution that tokens are drawn from; 0 for the likeliest each time.
            seed: of what is drawn.

        Raises:
            GraftworkError: an option is out of its range, or a row has no text.
        """
        if max_new_tokens < 1 or not temperature >= 0:
            raise GraftworkError(
                f"predict.max_new_tokens must be at least 1 and predict.temperature at least 0, got "
                f"{max_new_tokens} and {temperature}"
            )
        return [
            {"continuation": text}
            for text in written_continuations(
                model,
                self.text_tokenizer,
                [text_in(row) for row in inputs],
                longest=longest_sequence(model, self._sequence_length),
                count=max_new_tokens,
                choose=chosen_by(temperature, seed),
            )
        ]

    def artefacts(self, model: nn.Module, folder: Path) -> None:
        """Write ``continuations.csv``: how held-out texts go on, and how the model has them go on.

        Args:
            model: in evaluation mode.
            folder: that exists.
        """
        write_continuations(folder / "continuations.csv", model, self.tokenized, self._sequence_length)

    def count(self, batch: Mapping[str, Tensor]) -> int:
        """How many tokens a batch predicts."""
        return batch["targets"].numel()

    def facts(self) -> dict[str, str | int | float]:
        """What the data is: names, versions, digests and sizes, as plain data."""
        tokenized = self.tokenized
        return {
            "corpus": self._corpus.name,
            **{f"corpus_{name}": value for name, value in self._corpus.identity.items()},
            **self._facts_of_weights(),
            "tokenizer": self._tokenizer_told(),
            "vocabulary": tokenized.vocabulary,
            "train_tokens": len(tokenized.train),
            "validation_tokens": len(tokenized.validation),
            **tokenized.counts,
            "validation_fraction": self._validation_fraction,
            **{f"{name}_sha256": value for name, value in tokenized.digests.items()},
        }

    def _tokenizer_source(self) -> Path | None:
        """Where the tokenizer is; None where it is trained on the text."""
        if self._weights is not None:
            return Path(self._weights.source())
        return self._tokenizer or self._taken_over

    def _facts_of_weights(self) -> dict[str, str | int]:
        weights = self._weights
        if weights is None:
            return {}
        return {
            "model": weights.name,
            **{f"model_{name}": value for name, value in weights.identity.items()},
            "model_vocabulary": int(weights.config().vocab_size),
        }

    def _tokenizer_told(self) -> str:
        if self._weights is not None:
            return "that of the model"
        if self._tokenizer is not None:
            return str(self._tokenizer)
        return "that of the weights" if self._taken_over else "byte-level BPE of the training documents"

    @cached_property
    def _training_sequences(self) -> PackedSequences:
        return self._packed(self.tokenized.train, "training")

    @cached_property
    def _validation_sequences(self) -> PackedSequences:
        return self._packed(self.tokenized.validation, "held-out", self.tokenized.validation_bytes)

    @cached_property
    def _test_sequences(self) -> PackedSequences:
        documents = () if self._test_corpus is None else self._test_corpus.read()
        # What is mapped stays readable when its file has gone, or the file stays where that is not so.
        with TemporaryDirectory(prefix="graftwork-", ignore_cleanup_errors=True) as folder:
            tokens, token_bytes = tokens_with_bytes(documents, self.text_tokenizer, Path(folder))
            return self._packed(tokens, "test", token_bytes)

    @cached_property
    def _evaluated_sequences(self) -> int:
        sequences = self._validation_sequences
        return min(len(sequences), self._evaluation_tokens // sequences.length)

    def _packed(self, tokens: Any, part: str, token_bytes: Any = None) -> PackedSequences:
        length = min(self._sequence_length, len(tokens) - 1)
        if length < 1:
            raise GraftworkError(
                f"data {self._corpus.name!r} has {len(tokens)} {part} token(s), and a sequence needs at "
                "least 2: give more text"
            )
        if length < self._sequence_length:
            tell_once(
                f"{self._corpus.name} has {len(tokens)} {part} tokens: one sequence of {length} "
                f"(sequence_length = {self._sequence_length})"
            )
        return PackedSequences(tokens, length, token_bytes)


def _nats(model: nn.Module, batch: Mapping[str, Tensor], reduction: str) -> Tensor:
    logits = logits_of(model(batch["input_ids"])).float()
    return F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), reduction=reduction)
