"""Classification by a pretrained transformer with a fresh output layer.

The head is that of transformers' ``AutoModelForSequenceClassification``, except for sentence encoders: the
pooling layer that it would read was no part of their training, so a linear layer on the mean of the outputs
takes its place. The loss is the cross-entropy of the head's logits [examples, labels]. An example has one
text or two (premise and hypothesis). Batches hold ``input_ids``, ``attention_mask`` and, where the tokenizer
makes them for pairs, ``token_type_ids``, all [examples, tokens], and ``labels`` [examples].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork.errors import GraftworkError
from graftwork_text.corpora import LabelledExample, find_labelled_corpus
from graftwork_text.models.pretrained import Precision, find_pretrained
from graftwork_text.tasks.classification.pooled_classifier import MeanPooledClassifier
from graftwork_text.tasks.classification.scoring import Batch, Scoring
from graftwork_text.tasks.classification.task import ClassificationTask
from graftwork_text.tasks.fine_tuning.adaptation import Adaptation
from graftwork_text.tasks.fine_tuning.encoding import Tokens, padded
from graftwork_text.tasks.fine_tuning.objective import Objective
from graftwork_text.tasks.fine_tuning.selection import SubsetSizes

_MOST_TEXTS = 2


class SequenceClassification(ClassificationTask):
    """Classify text by a pretrained model with a fresh head.

    Args:
        model: minilm or smollm2-135m (fetched), a folder of weights in transformers' format, or a hub name.
        data: rotten-tomatoes or bbc-topics (fetched), or a .csv, .tsv or .jsonl file.
        pooling: what the head reads; mean of the model's outputs, or whatever transformers' own head for it
            reads; auto is mean for sentence encoders.
        objective: accuracy and f1 (of each batch, negated) have no gradient, so they are for optimizers that
            only evaluate the loss.
        shots_per_class: examples of every class to learn from, and as many for validation; none for parts by
            number.
        train_examples: examples to learn from; none for all.
        validation_examples: examples for validation; none for all of the data's own validation part, or else
            for 500, drawn from those to learn from.
        test_examples: test examples; none for all.
        data_seed: draws training and validation examples.
        text_columns: of a file, one or two.
        label_column: of a file.
        validation_data: a file of validation examples.
        test_data: a file of test examples; without it a fifth of data is held out.
        dtype: of the weights.
        lora_rank: rank of low-rank adapters, with all else but the head frozen; none for none. Needs peft.
        lora_alpha: adapters are scaled by lora_alpha / lora_rank.
        lora_target: layers to adapt, by name.
        train_only: shell patterns of the only parameters to train, classifier.* for instance.
        freeze: shell patterns of parameters not to train.
        max_length: tokens of a sequence at most; a text that is longer loses its end.
        batch_size: examples in a batch of one process.
        evaluation_batch_size: examples in a batch of an evaluation.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: data or model do not exist or do not go together.
    """

    def __init__(
        self,
        *,
        model: str = "minilm",
        data: str = "rotten-tomatoes",
        pooling: Literal["auto", "mean", "model"] = "auto",
        objective: Objective = "cross-entropy",
        shots_per_class: int | None = None,
        train_examples: int | None = None,
        validation_examples: int | None = None,
        test_examples: int | None = None,
        data_seed: int = 0,
        text_columns: Sequence[str] = ("text",),
        label_column: str = "label",
        validation_data: str | None = None,
        test_data: str | None = None,
        dtype: Precision = "float32",
        lora_rank: int | None = None,
        lora_alpha: float = 16.0,
        lora_target: str | list[str] = "all-linear",
        train_only: Sequence[str] = (),
        freeze: Sequence[str] = (),
        max_length: int = 256,
        batch_size: int = 16,
        evaluation_batch_size: int = 64,
    ) -> None:
        corpus = find_labelled_corpus(
            data,
            validation_data=validation_data,
            test_data=test_data,
            text_columns=text_columns,
            label_column=label_column,
        )
        if len(corpus.fields) > _MOST_TEXTS:
            raise ValueError(f"text_columns must be one or two, got {', '.join(corpus.fields)}")
        super().__init__(
            pretrained=find_pretrained(model),
            dtype=dtype,
            corpus=corpus,
            sizes=SubsetSizes(shots_per_class, train_examples, validation_examples, test_examples),
            data_seed=data_seed,
            adaptation=Adaptation(train_only, freeze, lora_rank, lora_alpha, lora_target),
            objective=objective,
            max_length=max_length,
            batch_size=batch_size,
            evaluation_batch_size=evaluation_batch_size,
        )
        self._pooling = pooling

    @cached_property
    def pooling(self) -> str:
        """What the head reads, decided."""
        if self._pooling != "auto":
            return self._pooling
        return "mean" if self.pretrained.is_sentence_encoder() else "model"

    @cached_property
    def scoring(self) -> Scoring:
        """Logits of the head."""
        return HeadScoring(self.tokenizer, self.max_length)

    def build_model(self) -> nn.Module:
        """Return the model with a head drawn from torch's global generator.

        Raises:
            GraftworkError: the weights lack more than the head.
        """
        names = self.data.labels
        if self.pooling == "mean":
            return self._mean_pooled(len(names))
        model, missing = self.pretrained.load(
            "AutoModelForSequenceClassification",
            dtype=self.dtype,
            num_labels=len(names),
            id2label=dict(enumerate(names)),
            label2id={name: number for number, name in enumerate(names)},
            problem_type="single_label_classification",
            # Heads of causal models look for the last token that is no padding.
            pad_token_id=self.tokenizer.pad_token_id,
        )
        inside = f"{model.base_model_prefix}."
        unexpected = sorted(name for name in missing if name.startswith(inside) and ".pooler." not in name)
        if unexpected:
            raise GraftworkError(
                f"model {self.pretrained.name!r} lacks weights for {', '.join(unexpected[:3])} and "
                f"{len(unexpected)} parameters in all: the folder is incomplete, or of another architecture"
            )
        fresh = missing or {name for name, _ in model.named_parameters() if not name.startswith(inside)}
        self.adaptation.apply(model, adapted=model, fresh=fresh)
        return model

    def facts(self) -> dict[str, str | int | float]:
        """What data and model are: names, versions, digests and sizes, as plain data."""
        return {**super().facts(), "pooling": self.pooling}

    def _mean_pooled(self, classes: int) -> nn.Module:
        try:
            encoder, missing = self.pretrained.load("AutoModel", dtype=self.dtype, add_pooling_layer=False)
        except TypeError:
            encoder, missing = self.pretrained.load("AutoModel", dtype=self.dtype)
        if missing:
            raise GraftworkError(
                f"model {self.pretrained.name!r} lacks weights for {', '.join(sorted(missing)[:3])}: the "
                "folder is incomplete, or of another architecture"
            )
        config: Any = encoder.config
        model = MeanPooledClassifier(
            encoder,
            classes,
            dropout=float(getattr(config, "hidden_dropout_prob", 0.0)),
            standard_deviation=float(getattr(config, "initializer_range", 0.02)),
            dtype=getattr(torch, self.dtype),
        )
        self.adaptation.apply(model, adapted=encoder, fresh=("classifier.weight", "classifier.bias"))
        return model


class HeadScoring:
    """The logits of a classification head.

    Args:
        tokenizer: of transformers; it knows how a pair of texts is put together.
        max_length: longest sequence of tokens; the longer text of a pair loses its end first.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length

    def encode(self, examples: Sequence[LabelledExample]) -> EncodedPairs:
        """Tokenize texts or pairs of texts."""
        columns = zip(*(example.texts for example in examples), strict=True)
        encoded = self._tokenizer(
            *map(list, columns),
            truncation=True,
            max_length=self._max_length,
            # A text that spells out a special token is still text.
            split_special_tokens=True,
        )
        return EncodedPairs(
            encoded["input_ids"],
            encoded.get("token_type_ids") if len(examples[0].texts) > 1 else None,
            [example.label for example in examples],
            padding=self._tokenizer.pad_token_id,
            max_length=self._max_length,
        )

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits, float32 [examples, labels]."""
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        output: Any = model(**inputs)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits.float()


class EncodedPairs:
    """Texts or pairs of texts as token numbers.

    Args:
        sequences: token numbers of each example.
        types: which text each token belongs to, or None where the model is not told.
        labels: of the examples.
        padding: the token that fills a batch up.
        max_length: the longest sequence.
    """

    def __init__(
        self,
        sequences: Sequence[Tokens],
        types: Sequence[Tokens] | None,
        labels: Sequence[int],
        *,
        padding: int,
        max_length: int,
    ) -> None:
        self._sequences = sequences
        self._types = types
        self._labels = torch.tensor(labels, dtype=torch.int64)
        self._padding = padding
        self._max_length = max_length
        self.lengths = [len(tokens) for tokens in sequences]

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self._sequences)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Some examples.

        Args:
            rows: [examples], which ones.
        """
        batch = self._padded(self._sequences, rows, self._padding)
        if self._types is not None:
            batch["token_type_ids"] = self._padded(self._types, rows, 0)["input_ids"]
        return {**batch, "labels": self._labels[torch.from_numpy(rows)]}

    def _padded(self, sequences: Sequence[Tokens], rows: NDArray[np.int64], padding: int) -> Batch:
        chosen = [sequences[row] for row in rows]
        return padded(chosen, padding=padding, side="right", max_length=self._max_length)
