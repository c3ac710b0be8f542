"""Questions answered as language modelling, with no new parameters: the prompt goes on with the answer.

Training is teacher forcing: the cross-entropy of the right answer's tokens alone, the mean over an example's
tokens and then over examples. A choice is the option whose tokens have the highest mean log-probability;
calibrated scores are sums, less the sums under the prompt without content. A free answer is generated
greedily up to the line's end and marked by exact match and F1 (MeZO, arXiv:2305.17333, the protocol of LOZO,
arXiv:2410.07698). Free answers are taught with the line's end behind them, so that they learn to end.

Minus the mean F1, or the share of right answers, is an objective for optimizers that only evaluate the loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from graftwork import Direction, GraftworkError
from graftwork_text.corpora import Question, QuestionCorpus, QuestionData, find_questions
from graftwork_text.corpora.held_out import HeldOutFiles
from graftwork_text.corpora.remarks import Remark
from graftwork_text.corpora.sameness import evened, fingerprint
from graftwork_text.corpora.values import is_text
from graftwork_text.models.pretrained_model import pretrained_of
from graftwork_text.sources import smallest
from graftwork_text.tasks.answering.encoded import choices, free_answers, free_prompts, right_answers
from graftwork_text.tasks.answering.generation import answers_of, generate, line_ends
from graftwork_text.tasks.answering.marking import best_f1, exact_match
from graftwork_text.tasks.fine_tuning.adaptation import Adaptation
from graftwork_text.tasks.fine_tuning.compute import ComputeOptions
from graftwork_text.tasks.fine_tuning.continuation import summed_log_probabilities
from graftwork_text.tasks.fine_tuning.encoding import Batch, Encoded
from graftwork_text.tasks.fine_tuning.objective import Objective, refuse_gradient
from graftwork_text.tasks.fine_tuning.prompts import PromptFile
from graftwork_text.tasks.fine_tuning.selection import Parts, Selection, Split, draw_by_number
from graftwork_text.tasks.fine_tuning.task import AttentionOption, FineTuningTask, ModelOption, texts_in
from graftwork_trainer.device import move
from graftwork_trainer.evaluation import device_of

_PACKAGE = __name__.rpartition(".")[0]


class PromptAnswering(FineTuningTask[Question]):
    """Answer questions by prompting a pretrained causal language model.

    Rows hold what is measured of each question: ``cross_entropy``, and ``accuracy`` of choices,
    ``exact_match`` and ``f1`` of free answers.

    Args:
        data: installed-questions (no download), another registered name, or a .jsonl file of questions: the
            fields of the prompt, and options with answer, or answers.
        model: smollm2-135m (fetched), another registered name, a folder of weights in transformers' format,
            or a hub name; or the section [model].
        prompts: a shipped file of prompts (reading), or the path of a .toml file with [answering].
        calibrate: of choices, subtract an option's log-probability under a prompt without content, and take
            sums over its tokens, not means.
        objective: accuracy (of choices; exact match of free answers) and f1 (of free answers), negated, have
            no gradient, so they are for optimizers that only evaluate the loss.
        max_new_tokens: tokens of a generated answer at most.
        files: further files of data.
        selection: which questions of the data.
        compute: precision, lengths and sizes of batches.
        adaptation: which parameters are trained.
        attention: what takes the place of an encoder's self-attention, from the section [attention]; none to
            leave that.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: data, prompts or model do not exist or do not go together.
    """

    metric_directions: ClassVar[Mapping[str, Direction]] = {
        "accuracy": "higher",
        "f1": "higher",
        "exact_match": "higher",
        "loss": "lower",
        "cross_entropy": "lower",
    }
    corpus: QuestionCorpus

    def __init__(
        self,
        *,
        data: str = "installed-questions",
        model: ModelOption = "smollm2-135m",
        prompts: str = "reading",
        calibrate: bool = False,
        objective: Objective = "cross-entropy",
        max_new_tokens: int = 50,
        files: HeldOutFiles = HeldOutFiles(),
        selection: Selection = Selection(),
        compute: ComputeOptions = ComputeOptions(max_length=1024, evaluation_batch_size=16),
        adaptation: Adaptation = Adaptation(),
        attention: AttentionOption = None,
    ) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
        super().__init__(
            pretrained=pretrained_of(model),
            corpus=find_questions(data, files),
            objective=objective,
            selection=selection,
            adaptation=adaptation,
            compute=compute,
            attention=attention,
        )
        self._prompts = PromptFile(prompts, package=_PACKAGE)
        self._prompt = self._prompts.for_answers()
        self._calibrate = calibrate
        self._max_new_tokens = max_new_tokens

    @classmethod
    def smallest(cls, folder: Path) -> dict[str, object]:
        """Return options with which it trains in seconds, on data that is made in the folder."""
        return smallest.fine_tuning(folder, smallest.questions(folder))

    @cached_property
    def data(self) -> QuestionData:
        """All questions; read at first use.

        Raises:
            GraftworkError: a row is not right, or an option is for the other form of questions.
        """
        data = self.corpus.read(self._prompt.fields)
        if data.form == "choice" and self.objective == "f1":
            raise GraftworkError(
                f"task.objective = 'f1' is for free answers, and the questions of {self.corpus.name!r} have "
                "options; choose 'accuracy' or 'cross-entropy'"
            )
        if data.form == "free" and self._calibrate:
            raise GraftworkError(
                f"task.calibrate must be false: it is for questions with options, and those of "
                f"{self.corpus.name!r} have none"
            )
        return data

    def draw(self) -> Parts[Question]:
        """Draw the questions of this experiment."""
        data = self.data
        where = f"task.data = {self.corpus.name!r}"
        return draw_by_number(data.train, data.validation, data.test, self._selection, key=_key, where=where)

    def build_model(self) -> nn.Module:
        """Return the pretrained model with its output layer.

        Raises:
            GraftworkError: it is no causal language model, or its weights lack a part, which would be random.
        """
        architectures = list(self.pretrained.config().architectures or [])
        if any(name.endswith("ForMaskedLM") for name in architectures):
            raise GraftworkError(
                f"model {self.pretrained.name!r} is a masked language model ({', '.join(architectures)}); "
                "answers need a causal one, 'smollm2-135m' for instance"
            )
        model, missing = self.pretrained.load("AutoModelForCausalLM", dtype=self._compute.dtype)
        if missing:
            raise GraftworkError(
                f"model {self.pretrained.name!r} has no weights for {', '.join(sorted(missing)[:3])}, which "
                "answering needs: they would be random, and prompting rests on pretrained ones; choose a "
                "causal language model, 'smollm2-135m' for instance"
            )
        return self.adapt(model, model, missing)

    def remarks(self, parts: Parts[Question]) -> Sequence[Remark]:
        """What was found in the data."""
        return self.data.remarks

    def encode(self, split: Split) -> Encoded:
        """Tokenize the questions of a part."""
        questions, encoder, prompt = self.parts.of(split), self.encoder, self._prompt
        if split == "train" and self.objective == "cross-entropy":
            return right_answers(questions, encoder, prompt)
        if self.data.form == "choice":
            return choices(questions, encoder, prompt, calibrate=self._calibrate)
        first = {
            "train": 0,
            "validation": len(self.parts.train),
            "test": len(self.parts.train) + len(self.parts.validation),
        }[split]
        generated = self._max_new_tokens
        return free_answers(questions, encoder, prompt, first=first, generated=generated)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the objective on a batch, and what else is measured on the way.

        Args:
            model: on the batch's device.
            batch: of :meth:`batches`.

        Raises:
            GraftworkError: the objective has no gradient, and one is being recorded.
        """
        if self.objective == "cross-entropy":
            sums = summed_log_probabilities(model, batch)
            return _right_loss(sums, batch).mean(), {}
        refuse_gradient(self.objective)
        if "right" in batch:
            measured = self._chosen(summed_log_probabilities(model, batch), batch)
        else:
            measured = self._marked(model, batch)
        means = {name: values.mean() for name, values in measured.items()}
        return -means[self._measure], means

    def evaluate_rows(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each question's right answer, and how right the model's own is."""
        sums = summed_log_probabilities(model, batch)
        marks = self._chosen(sums, batch) if "right" in batch else self._marked(model, batch)
        return {"sample": batch["sample"], "cross_entropy": _right_loss(sums, batch), **marks}

    def metrics(self, rows: Mapping[str, Tensor]) -> dict[str, float]:
        """Return ``loss`` and ``accuracy``, or ``loss``, ``exact_match`` and ``f1``, of all questions.

        ``loss`` is the objective; where it is another, ``cross_entropy`` is there too. Every question weighs
        the same.
        """
        means = {name: column.double().mean().item() for name, column in rows.items() if name != "sample"}
        cross_entropy = means.pop("cross_entropy")
        if self.objective == "cross-entropy":
            return {"loss": cross_entropy, **means}
        return {"loss": -means[self._measure], **means, "cross_entropy": cross_entropy}

    def answers(self, model: nn.Module, batch: Batch) -> list[str]:
        """The answers that a model generates.

        Args:
            model: on the batch's device.
            batch: with ``prompt_ids`` and ``prompt_mask``, as those of free answers have for validation or
                test.
        """
        prompts = {"input_ids": batch["prompt_ids"], "attention_mask": batch["prompt_mask"]}
        generated = generate(model, prompts, count=self._max_new_tokens, ends=self._ends)
        return answers_of(self.tokenizer, generated, self._ends)

    def predict(self, model: nn.Module, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the ``answer`` to each question, and of choices how probable it is among the options.

        Args:
            model: in evaluation mode.
            inputs: rows with the fields of the prompt, all of them with ``options`` or none.

        Raises:
            GraftworkError: a row lacks a field, or only some have options.
        """
        questions = [question_in(row, self._prompt.fields) for row in inputs]
        if len({bool(question.options) for question in questions}) > 1:
            raise GraftworkError("some questions have options and some have none")
        if not questions[0].options:
            generated = self._max_new_tokens
            prompts = free_prompts(questions, self.encoder, self._prompt, generated=generated)
            moved = move(prompts.batch(np.arange(len(questions))), device_of(model))
            return [{"answer": answer} for answer in self.answers(model, moved)]
        encoded = choices(questions, self.encoder, self._prompt, calibrate=self._calibrate)
        scores = self.scores(model, move(encoded.batch(np.arange(len(questions))), device_of(model)))
        best = scores.double().softmax(1).max(1)
        return [
            {"answer": question.options[place], "probability": probability}
            for question, place, probability in zip(
                questions, best.indices.tolist(), best.values.tolist(), strict=True
            )
        ]

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Scores of the options of choices, float32 [examples, most options]; -inf where there is no option.

        Args:
            model: on the batch's device.
            batch: of :meth:`batches`, of choices, for validation or test.
        """
        return self._scores(summed_log_probabilities(model, batch), batch)

    def facts(self) -> dict[str, str | int | float]:
        """What data, model and prompts are: names, versions, digests and sizes, as plain data."""
        return {
            **super().facts(),
            "answers": self.data.form,
            "max_new_tokens": self._max_new_tokens,
            "prompts": self._prompts.name,
            "prompts_sha256": self._prompts.sha256,
        }

    @cached_property
    def _ends(self) -> Tensor:
        return line_ends(self.tokenizer)

    @cached_property
    def _numbered(self) -> list[Question]:
        return list(self.parts.all())

    @property
    def _measure(self) -> str:
        if self.objective == "accuracy" and self.data.form == "free":
            return "exact_match"
        return self.objective

    def _scores(self, sums: Tensor, batch: Batch) -> Tensor:
        rows = batch["rows"]
        if "free_rows" in batch:
            scores = sums[rows.clamp(min=0)] - sums[batch["free_rows"].clamp(min=0)]
        else:
            scores = (sums / batch["option_mask"].sum(1))[rows.clamp(min=0)]
        return scores.masked_fill(rows < 0, float("-inf"))

    def _chosen(self, sums: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Whether each choice is right; float32 [examples]."""
        return {"accuracy": (self._scores(sums, batch).argmax(1) == batch["right"]).float()}

    def _marked(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """How right each generated answer is; float32 [examples]."""
        right = [self._numbered[number].answers for number in batch["questions"].tolist()]
        answers = list(zip(self.answers(model, batch), right, strict=True))
        marks = {
            "exact_match": [exact_match(answer, gold) for answer, gold in answers],
            "f1": [best_f1(answer, gold) for answer, gold in answers],
        }
        device = batch["questions"].device
        return {name: torch.tensor(values, device=device) for name, values in marks.items()}


def _key(question: Question) -> int:
    """The same for the same question, in whatever order its options stand."""
    return fingerprint(*question.texts, *sorted(map(evened, question.options)))


def _right_loss(sums: Tensor, batch: Batch) -> Tensor:
    """Minus the mean log-probability of each right answer's tokens, float32 [examples]."""
    means = sums / batch["option_mask"].sum(1)
    if "right" in batch:
        means = means[batch["rows"].gather(1, batch["right"].unsqueeze(1)).squeeze(1)]
    return -means


def question_in(row: Mapping[str, Any], fields: Sequence[str]) -> Question:
    """The question of a row, whose answer is to be found.

    Raises:
        GraftworkError: it lacks a field, or its options are none.
    """
    given = row.get("options") or []
    if not isinstance(given, list) or not all(map(is_text, given)):
        raise GraftworkError(f"field 'options' must be a list of texts, got {given!r:.80}")
    options = tuple(map(str, given))
    return Question(texts_in(row, fields), options[:1], options)
