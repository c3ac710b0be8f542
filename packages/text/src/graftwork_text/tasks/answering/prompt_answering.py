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
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graftwork.errors import GraftworkError
from graftwork_text.corpora.questions import Question, QuestionData, QuestionFiles, digest_of
from graftwork_text.models.pretrained import Precision, find_pretrained
from graftwork_text.tasks.answering.encoded import Choices, FreeAnswers, RightAnswers
from graftwork_text.tasks.answering.generation import answers_of, continued_greedily, line_ends
from graftwork_text.tasks.answering.marking import best_f1, exact_match
from graftwork_text.tasks.classification.scoring import Batch, EncodedExamples
from graftwork_text.tasks.fine_tuning.adaptation import Adaptation
from graftwork_text.tasks.fine_tuning.continuation import summed_log_probabilities
from graftwork_text.tasks.fine_tuning.objective import Objective, refuse_gradient
from graftwork_text.tasks.fine_tuning.prompts import PromptFile
from graftwork_text.tasks.fine_tuning.selection import SubsetSizes, draw_by_number
from graftwork_text.tasks.fine_tuning.task import FineTuningTask, Split

_PARTS: tuple[Split, ...] = ("train", "validation", "test")


class PromptAnswering(FineTuningTask):
    """Answer questions by prompting a pretrained causal language model.

    Args:
        data: a .jsonl file of questions: the fields of the prompt, and options with answer, or answers.
        model: smollm2-135m (fetched), a folder of weights in transformers' format, or a hub name.
        prompts: a shipped file of prompts (reading), or the path of a .toml file with [answering].
        calibrate: of choices, subtract an option's log-probability under a prompt without content, and take
            sums over its tokens, not means.
        objective: accuracy (of choices; exact match of free answers) and f1 (of free answers), negated, have
            no gradient, so they are for optimizers that only evaluate the loss.
        max_new_tokens: tokens of a generated answer at most.
        train_examples: questions to learn from; none for all.
        validation_examples: questions for validation; none for all of validation_data, or else for 500,
            drawn from those to learn from.
        test_examples: test questions; none for all.
        data_seed: draws training and validation questions.
        validation_data: a file of validation questions.
        test_data: a file of test questions; without it a fifth of data is held out.
        dtype: of the weights.
        lora_rank: rank of low-rank adapters, with all else frozen; none for none. Needs peft.
        lora_alpha: adapters are scaled by lora_alpha / lora_rank.
        lora_target: layers to adapt, by name.
        train_only: shell patterns of the only parameters to train, model.layers.5.* for instance.
        freeze: shell patterns of parameters not to train.
        max_length: tokens of a sequence at most; a prompt that is longer loses its start.
        batch_size: questions in a batch of one process.
        evaluation_batch_size: questions in a batch of an evaluation.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: data, prompts or model do not exist or do not go together.
    """

    def __init__(
        self,
        *,
        data: str,
        model: str = "smollm2-135m",
        prompts: str = "reading",
        calibrate: bool = False,
        objective: Objective = "cross-entropy",
        max_new_tokens: int = 50,
        train_examples: int | None = None,
        validation_examples: int | None = None,
        test_examples: int | None = None,
        data_seed: int = 0,
        validation_data: str | None = None,
        test_data: str | None = None,
        dtype: Precision = "float32",
        lora_rank: int | None = None,
        lora_alpha: float = 16.0,
        lora_target: str | list[str] = "all-linear",
        train_only: Sequence[str] = (),
        freeze: Sequence[str] = (),
        max_length: int = 1024,
        batch_size: int = 16,
        evaluation_batch_size: int = 16,
    ) -> None:
        super().__init__(
            pretrained=find_pretrained(model),
            dtype=dtype,
            data_seed=data_seed,
            adaptation=Adaptation(train_only, freeze, lora_rank, lora_alpha, lora_target),
            max_length=max_length,
            batch_size=batch_size,
            evaluation_batch_size=evaluation_batch_size,
        )
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
        self.objective: Objective = objective
        self.files = QuestionFiles(data, validation_data=validation_data, test_data=test_data)
        self._sizes = SubsetSizes(None, train_examples, validation_examples, test_examples)
        self._prompts = PromptFile(prompts, package=__name__.rpartition(".")[0])
        self._prompt = self._prompts.for_answers()
        self._calibrate = calibrate
        self._max_new_tokens = max_new_tokens

    @cached_property
    def data(self) -> QuestionData:
        """All questions; read at first use.

        Raises:
            GraftworkError: a row is not right, or an option is for the other form of questions.
        """
        data = self.files.read(self._prompt.fields)
        if data.form == "choice" and self.objective == "f1":
            raise GraftworkError(
                f"task.objective = 'f1' is for free answers, and the questions of {self.files.name!r} have "
                "options; choose 'accuracy' or 'cross-entropy'"
            )
        if data.form == "free" and self._calibrate:
            raise GraftworkError(
                f"task.calibrate must be false: it is for questions with options, and those of "
                f"{self.files.name!r} have none"
            )
        return data

    @cached_property
    def parts(self) -> dict[Split, tuple[Question, ...]]:
        """The questions of this experiment; drawn at first use."""
        drawn = draw_by_number(
            self.data.train, self.data.validation, self.data.test, self._sizes, data_seed=self._data_seed
        )
        return dict(zip(_PARTS, drawn, strict=True))

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
        model, missing = self.pretrained.load("AutoModelForCausalLM", dtype=self.dtype)
        if missing:
            raise GraftworkError(
                f"model {self.pretrained.name!r} has no weights for {', '.join(sorted(missing)[:3])}, which "
                "answering needs: they would be random, and prompting rests on pretrained ones; choose a "
                "causal language model, 'smollm2-135m' for instance"
            )
        self.adaptation.apply(model, adapted=model, fresh=missing)
        return model

    def encode(self, split: Split) -> EncodedExamples:
        """Tokenize the questions of a part."""
        before = _PARTS[: _PARTS.index(split)]
        first = sum(len(self.parts[part]) for part in before)
        questions = self.parts[split]
        if split == "train" and self.objective == "cross-entropy":
            return RightAnswers(questions, first, self.encoder, self._prompt)
        if self.data.form == "choice":
            return Choices(questions, first, self.encoder, self._prompt, calibrate=self._calibrate)
        return FreeAnswers(questions, first, self.encoder, self._prompt, generated=self._max_new_tokens)

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

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return ``loss`` and ``accuracy``, or ``loss``, ``exact_match`` and ``f1``, on the validation part.

        ``loss`` is the objective; where it is another, ``cross_entropy`` is there too. Every question weighs
        the same.

        Args:
            model: on any device; its training mode is restored.
        """
        return self._metrics(model, "validation")

    def test_metrics(self, model: nn.Module) -> dict[str, float]:
        """Return the same metrics on the test questions, which nothing else reads.

        Args:
            model: on any device; its training mode is restored.
        """
        return self._metrics(model, "test")

    def answers(self, model: nn.Module, batch: Batch) -> list[str]:
        """The answers that a model generates.

        Args:
            model: on the batch's device.
            batch: of :meth:`batches`, of free answers, for validation or test.
        """
        prompts = {"input_ids": batch["prompt_ids"], "attention_mask": batch["prompt_mask"]}
        generated = continued_greedily(model, prompts, count=self._max_new_tokens, ends=self._ends)
        return answers_of(self.tokenizer, generated, self._ends)

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Scores of the options of choices, float32 [examples, most options]; -inf where there is no option.

        Args:
            model: on the batch's device.
            batch: of :meth:`batches`, of choices, for validation or test.
        """
        return self._scores(summed_log_probabilities(model, batch), batch)

    def count(self, batch: Mapping[str, Tensor]) -> int:
        """How many questions a batch holds."""
        return batch["questions"].numel()

    def facts(self) -> dict[str, str | int | float]:
        """What data, model and prompts are: names, versions, digests and sizes, as plain data."""
        return {
            "corpus": self.files.name,
            **{f"corpus_{name}": value for name, value in self.files.identity.items()},
            "answers": self.data.form,
            **{f"{part}_examples": len(questions) for part, questions in self.parts.items()},
            "data_seed": self._data_seed,
            "examples_sha256": digest_of(list(self.parts.values())),
            "model": self.pretrained.name,
            **{f"model_{name}": value for name, value in self.pretrained.identity.items()},
            "max_length": self.max_length,
            "max_new_tokens": self._max_new_tokens,
            "prompts": self._prompts.name,
            "prompts_sha256": self._prompts.sha256,
        }

    @cached_property
    def _ends(self) -> Tensor:
        return line_ends(self.tokenizer)

    @cached_property
    def _numbered(self) -> list[Question]:
        return [question for part in _PARTS for question in self.parts[part]]

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
        marks: dict[str, Any] = {
            "exact_match": [exact_match(answer, gold) for answer, gold in answers],
            "f1": [best_f1(answer, gold) for answer, gold in answers],
        }
        return {
            name: torch.tensor(values, device=batch["questions"].device) for name, values in marks.items()
        }

    @torch.no_grad()
    def _metrics(self, model: nn.Module, split: Literal["validation", "test"]) -> dict[str, float]:
        found = self._over(model, split, self._measured)
        means = {name: torch.cat([one[name] for one in found]).double().mean().item() for name in found[0]}
        cross_entropy = means.pop("cross_entropy")
        if self.objective == "cross-entropy":
            return {"loss": cross_entropy, **means}
        return {"loss": -means[self._measure], **means, "cross_entropy": cross_entropy}

    def _measured(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        sums = summed_log_probabilities(model, batch)
        marks = self._chosen(sums, batch) if "right" in batch else self._marked(model, batch)
        return {"cross_entropy": _right_loss(sums, batch), **marks}


def _right_loss(sums: Tensor, batch: Batch) -> Tensor:
    """Minus the mean log-probability of each right answer's tokens, float32 [examples]."""
    means = sums / batch["option_mask"].sum(1)
    if "right" in batch:
        means = means[batch["rows"].gather(1, batch["right"].unsqueeze(1)).squeeze(1)]
    return -means
