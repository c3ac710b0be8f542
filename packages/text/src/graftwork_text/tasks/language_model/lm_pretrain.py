"""Pre-training of a causal language model: predict the next token of packed text.

The loss is the mean cross-entropy in nats per token, on float32 logits. Batches hold ``input_ids`` and
``targets``, both int64 [batch_size, sequence_length]; the model is called with ``input_ids`` and returns
logits [batch_size, sequence_length, vocabulary], or an object that has them as ``logits``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from graftwork import Choice, Direction, GraftworkError, Supplies
from graftwork_text.corpora import find_corpus
from graftwork_text.models.pretrained_lm import brought_with
from graftwork_text.sources import smallest
from graftwork_text.tasks.language_model.continuations import logits_of, write_continuations
from graftwork_text.tasks.language_model.packing import PackedSequences
from graftwork_text.tasks.language_model.token_cache import TokenizedCorpus, open_tokenized
from graftwork_text.tasks.language_model.tokenization import SMALLEST_VOCABULARY
from graftwork_trainer.data.order import EndlessBatches, OrderedBatches
from graftwork_trainer.evaluation import evaluate


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
from graftwork_trainer.progress import tell_once
        vocabulary_size: tokens of the byte-level BPE that is trained on the training documents, where there
            is no other tokenizer.
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

    def load_assets(self, folder: Path) -> None:
        """Split text as the weights in use were trained to see it, unless the recipe says otherwise.

        Args:
            folder: that may have a ``tokenizer.json``.
        """
        if (folder / "tokenizer.json").is_file():
            self._taken_over = folder

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer as transformers has it, ``tokenizer.json`` and ``tokenizer_config.json``."""
        self.tokenized.tokenizer().save_folder(folder)

    @cached_property
    def tokenized(self) -> TokenizedCorpus:
        """The text as tokens; made at first use."""
        tokenizer = self._tokenizer or self._taken_over
        return open_tokenized(
            self._corpus,
            tokenizer=Path(self._weights.source()) if self._weights is not None else tokenizer,
            vocabulary_size=self._vocabulary_size,
            validation_fraction=self._validation_fraction,
            cache=self._cache,
        )

    def build_model(self) -> nn.Module:
        """Return the model with fresh weights from torch's global generator, or with those that it brings.

        Raises:
            GraftworkError: pretrained weights are of shorter sequences.
        """
        model: nn.Module = self._model(vocab_size=self.tokenized.vocabulary)
        longest = getattr(getattr(model, "config", None), "max_position_embeddings", None)
        if self._weights is not None and longest is not None and longest < self._sequence_length:
            raise GraftworkError(
                f"task.sequence_length must be at most {longest}, for which model {self._weights.name!r} was "
                f"trained; got {self._sequence_length}"
            )
        return model

    def batches(
        self, split: Literal["train", "validation"], *, rank: int, world_size: int, seed: int
    ) -> Iterable[dict[str, Tensor]]:
        """Return this rank's batches, on the CPU.

        Args:
            split: ``train`` without end, each epoch in a new order (the iterator has ``skip(count)``);
                ``validation`` once, in order, as many tokens as an evaluation reads.
            rank: this process, from 0.
            world_size: number of processes; their batches are disjoint.
            seed: of the training order.

        Raises:
            GraftworkError: the split has not even two tokens.
            ValueError: there is no such split.
        """
        if split not in ("train", "validation"):
            raise ValueError(f"split must be 'train' or 'validation', got {split!r}")
        if split == "train":
            return EndlessBatches(
                self._training_sequences,
                batch_size=self._batch_size,
                rank=rank,
                world_size=world_size,
                seed=seed,
            )
        return OrderedBatches(
            self._validation_sequences,
            batch_size=self._batch_size,
            count=self._evaluated_sequences,
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
