"""Classification by a pretrained transformer with a fresh output layer.

The head is that of transformers' ``AutoModelForSequenceClassification``, except for sentence encoders: the
pooling layer that it would read was no part of their training, so a linear layer on the mean of the outputs
takes its place. The loss is the cross-entropy of the head's logits [examples, labels]. An example has one
text or two (premise and hypothesis). Batches hold ``input_ids``, ``attention_mask`` and, where the tokenizer
makes them for pairs, ``token_type_ids``, all [examples, tokens], and ``labels`` [examples].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork.errors import GraftworkError
from graftwork_text.corpora import LabelledExample, find_labelled_corpus
from graftwork_text.corpora.tables import LabelledFiles
from graftwork_text.models.pretrained_model import pretrained_of
from graftwork_text.sources import smallest
from graftwork_text.tasks.classification.pooled_classifier import MeanPooledClassifier
from graftwork_text.tasks.classification.scoring import Scoring, labelled
from graftwork_text.tasks.classification.task import ClassificationTask
from graftwork_text.tasks.fine_tuning.adaptation import Adaptation
from graftwork_text.tasks.fine_tuning.compute import ComputeOptions
from graftwork_text.tasks.fine_tuning.encoding import Batch, Encoded, TextEncoder, Tokens, padded
from graftwork_text.tasks.fine_tuning.objective import Objective
from graftwork_text.tasks.fine_tuning.selection import ClassSelection
from graftwork_text.tasks.fine_tuning.task import AttentionOption, ModelOption
from graftwork_text.tasks.language_model.long_texts import LONGEST_PIECE_CHARACTERS

_MOST_TEXTS = 2
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class SequenceClassification(ClassificationTask):
    """Classify text by a pretrained model with a fresh head.

    Args:
        model: minilm or smollm2-135m (fetched), another registered name, a folder of weights in transformers'
            format, or a hub name; or the section [model].
        data: rotten-tomatoes or bbc-topics (fetched), another registered name, or the path of a .csv, .tsv or
            .jsonl file.
        pooling: what the head reads; mean of the model's outputs, or whatever transformers' own head for it
            reads; auto is mean for sentence encoders.
        objective: accuracy and f1 (of each batch, negated) have no gradient, so they are for optimizers that
            only evaluate the loss.
        files: further files of data, and their columns: one or two of texts.
        selection: which examples of the data.
        compute: precision, lengths and sizes of batches.
        adaptation: which parameters are trained.
        attention: what takes the place of an encoder's self-attention, from the section [attention]; none to
            leave that.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: data or model do not exist or do not go together.
    """

    def __init__(
        self,
        *,
        model: ModelOption = "minilm",
        data: str = "rotten-tomatoes",
        pooling: Literal["auto", "mean", "model"] = "auto",
        objective: Objective = "cross-entropy",
        files: LabelledFiles = LabelledFiles(),
        selection: ClassSelection = ClassSelection(),
        compute: ComputeOptions = ComputeOptions(),
        adaptation: Adaptation = Adaptation(),
        attention: AttentionOption = None,
    ) -> None:
        corpus = find_labelled_corpus(data, files)
        if len(corpus.fields) > _MOST_TEXTS:
            raise ValueError(f"text_columns must be one or two, got {', '.join(corpus.fields)}")
        super().__init__(
            pretrained=pretrained_of(model),
            corpus=corpus,
            objective=objective,
            selection=selection,
            adaptation=adaptation,
            compute=compute,
            attention=attention,
        )
        self._pooling = pooling

    @classmethod
    def smallest(cls, folder: Path) -> dict[str, object]:
        """Return options with which it trains in seconds, on data that is made in the folder."""
        return smallest.fine_tuning(folder, smallest.labelled(folder), smallest.encoder(folder))

    @cached_property
    def pooling(self) -> str:
        """What the head reads, decided."""
        if self._pooling != "auto":
            return self._pooling
        return "mean" if self.pretrained.is_sentence_encoder() else "model"

    @cached_property
    def scoring(self) -> Scoring:
        """Logits of the head."""
        return HeadScoring(self.encoder)

    def build_model(self) -> nn.Module:
        """Return the model with a head drawn from torch's global generator.

        Raises:
            GraftworkError: the weights lack more than the head, or have not learnt a label of other data.
        """
        names = self.data.labels
        if self._labels is not None and not self.parts.train:
            # Nothing is learnt here: rows of the head stand for the labels that they stood for in training.
            self._refuse_other_labels(self._labels)
        if self.pooling == "mean":
            return self._mean_pooled(len(names))
        model, missing = self.pretrained.load(
            "AutoModelForSequenceClassification",
            dtype=self._compute.dtype,
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
        return self.adapt(model, model, fresh)

    def facts(self) -> dict[str, str | int | float]:
        """What data and model are: names, versions, digests and sizes, as plain data."""
        # Rows of the head stand for the labels, which those of a prompted model do not.
        return {**super().facts(), "pooling": self.pooling, "head": ", ".join(self.data.labels)}

    def _refuse_other_labels(self, learnt: Sequence[str]) -> None:
        for name in self.data.labels:
            if name not in learnt:
                raise GraftworkError(
                    f"{self.corpus.name}: label {name!r} is none that the model has learnt, which are "
                    f"{', '.join(map(repr, learnt))}"
                )

    def _mean_pooled(self, classes: int) -> nn.Module:
        encoder, missing = self.pretrained.load_encoder(dtype=self._compute.dtype)
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
            dtype=getattr(torch, self._compute.dtype),
        )
        return self.adapt(model, encoder, ("classifier.weight", "classifier.bias"))


class HeadScoring:
    """The logits of a classification head.

    Args:
        encoder: of the model's tokenizer, which knows how a pair of texts is put together; the longer text of
            a pair loses its end first.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    def encode(self, examples: Sequence[LabelledExample]) -> Encoded:
        """Tokenize texts or pairs of texts."""
        encoder = self._encoder
        sequences: list[Tokens] = []
        types: list[Tokens] = []
        for texts in self._grouped(examples):
            encoded = encoder.tokenizer(
                *map(list, zip(*texts, strict=True)),
                truncation=True,
                max_length=encoder.max_length,
                # A text that spells out a special token is still text.
                split_special_tokens=True,
            )
            sequences += encoded["input_ids"]
            if len(texts[0]) > 1:
                types += encoded.get("token_type_ids") or []

        def inputs(rows: NDArray[np.int64]) -> Batch:
            batch = encoder.padded([sequences[row] for row in rows], "right")
            if types:
                chosen = [types[row] for row in rows]
                filled = padded(chosen, padding=0, side="right", max_length=encoder.max_length)
                batch["token_type_ids"] = filled["input_ids"]
            return batch

        return labelled(examples, list(map(len, sequences)), inputs)

    def _grouped(self, examples: Sequence[LabelledExample]) -> Iterator[list[tuple[str, ...]]]:
        """The examples' texts, by lists short enough to be tokenized at little cost."""
        # What is cut off is what truncation would cut off.
        keep = self._encoder.beginning if self._encoder.tokenizer.truncation_side == "right" else str
        group: list[tuple[str, ...]] = []
        characters = 0
        for example in examples:
            texts = tuple(map(keep, example.texts))
            size = sum(map(len, texts))
            if group and characters + size > LONGEST_PIECE_CHARACTERS:
                yield group
                group, characters = [], 0
            group.append(texts)
            characters += size
        if group:
            yield group

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits, float32 [examples, labels]."""
        output: Any = model(**{name: batch[name] for name in _INPUTS if name in batch})
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits.float()
