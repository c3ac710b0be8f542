"""Questions as batches of tensors, in the three forms that training and evaluation need.

Every batch has ``questions`` int64 [examples], numbers by which the task finds its right answers, and rows as
:mod:`graftwork_text.tasks.fine_tuning.continuation` stacks them.

:class:`RightAnswers`: one row an example, the prompt with its (first) right answer.
:class:`FreeAnswers`: that, and the prompts alone, ``prompt_ids`` and ``prompt_mask`` [examples, width].
:class:`Choices`: a row for every option of every example; ``rows`` int64 [examples, most options] says
which, with -1 where an example has no more; ``right`` int64 [examples] is the place of the right option.
Where scores are calibrated, ``free_rows`` [examples, most options] are the same options after the prompt
without content.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftwork.errors import GraftworkError
from graftwork_text.corpora.questions import Question
from graftwork_text.tasks.classification.scoring import Batch
from graftwork_text.tasks.fine_tuning.continuation import Continuation, continuation, stacked
from graftwork_text.tasks.fine_tuning.encoding import TextEncoder, Tokens, padded
from graftwork_text.tasks.fine_tuning.prompts import Prompt

# After which a generated answer is over, so it is what a free answer is taught to end with.
_END = "\n"


class RightAnswers:
    """Prompts with their right answers.

    Args:
        questions: of one part.
        first: the number of the first of them.
        encoder: of the model's tokenizer.
        prompt: what an answer goes on from.
    """

    def __init__(
        self, questions: Sequence[Question], first: int, encoder: TextEncoder, prompt: Prompt
    ) -> None:
        self._first = first
        self._encoder = encoder
        self._prompts = [prompt.filled(prompt.before, question.texts) for question in questions]
        ends = ["" if question.options else _END for question in questions]
        answers = [question.answers[0] for question in questions]
        self._rows = _continuations(encoder, prompt, self._prompts, answers, ends)
        self.lengths = [len(tokens) for tokens, _ in self._rows]

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self._rows)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Some examples.

        Args:
            rows: [examples], which ones.
        """
        together = _stacked([self._rows[row] for row in rows], self._encoder)
        return {**together, "questions": torch.from_numpy(rows) + self._first}


class FreeAnswers(RightAnswers):
    """Prompts with their right answers, and alone to generate answers from.

    Args:
        questions: of one part.
        first: the number of the first of them.
        encoder: of the model's tokenizer.
        prompt: what an answer goes on from.
        generated: tokens of an answer at most; together with the prompt they are no longer than a sequence.

    Raises:
        GraftworkError: no room is left for the prompt.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        first: int,
        encoder: TextEncoder,
        prompt: Prompt,
        *,
        generated: int,
    ) -> None:
        super().__init__(questions, first, encoder, prompt)
        self._width = encoder.max_length - generated
        room = self._width - len(encoder.prefix)
        if room < 1:
            raise GraftworkError(
                f"max_length = {encoder.max_length} leaves no room for a prompt before max_new_tokens = "
                f"{generated}; choose a larger max_length (the model may allow fewer) or a smaller "
                "max_new_tokens"
            )
        self._alone: list[Tokens] = [
            [*encoder.prefix, *tokens[-room:]] for tokens in encoder.encode(self._prompts)
        ]

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Some examples.

        Args:
            rows: [examples], which ones.
        """
        alone = padded(
            [self._alone[row] for row in rows],
            padding=self._encoder.padding,
            side="left",
            max_length=self._width,
        )
        prompts = {"prompt_ids": alone["input_ids"], "prompt_mask": alone["attention_mask"]}
        return {**super().batch(rows), **prompts}


class Choices:
    """Prompts with each of their options.

    Args:
        questions: of one part.
        first: the number of the first of them.
        encoder: of the model's tokenizer.
        prompt: what an option goes on from.
        calibrate: have the options after the prompt without content too.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        first: int,
        encoder: TextEncoder,
        prompt: Prompt,
        *,
        calibrate: bool,
    ) -> None:
        self._first = first
        self._encoder = encoder
        self._right = torch.tensor([question.right_option for question in questions], dtype=torch.int64)
        counts = [len(question.options) for question in questions]
        self._starts = np.cumsum([0, *counts])
        options = [option for question in questions for option in question.options]
        prompts = [
            prompt.filled(prompt.before, question.texts) for question in questions for _ in question.options
        ]
        no_ends = [""] * len(options)
        self._rows = _continuations(encoder, prompt, prompts, options, no_ends)
        self._free: list[Continuation] = []
        if calibrate:
            without_content = [prompt.without_content(prompt.before).lstrip()] * len(options)
            self._free = _continuations(encoder, prompt, without_content, options, no_ends)
        self.lengths = [
            max(len(tokens) for tokens, _ in self._of(self._rows, row)) for row in range(len(self))
        ]

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self._right)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Some examples with all their options.

        Args:
            rows: [examples], which ones.
        """
        flat = [option for row in rows for option in self._of(self._rows, row)]
        free = [option for row in rows for option in self._of(self._free, row)]
        numbers = self._numbers(rows)
        batch = {
            **_stacked([*flat, *free], self._encoder),
            "rows": numbers,
            "right": self._right[torch.from_numpy(rows)],
            "questions": torch.from_numpy(rows) + self._first,
        }
        if self._free:
            batch["free_rows"] = torch.where(numbers < 0, numbers, numbers + len(flat))
        return batch

    def _of(self, options: Sequence[Continuation], row: int) -> Sequence[Continuation]:
        return options[self._starts[row] : self._starts[row + 1]]

    def _numbers(self, rows: NDArray[np.int64]) -> Tensor:
        counts = torch.from_numpy(self._starts[rows + 1] - self._starts[rows])
        places = torch.arange(int(counts.max()))
        numbers = (counts.cumsum(0) - counts)[:, None] + places
        return numbers.masked_fill(places >= counts[:, None], -1)


def _continuations(
    encoder: TextEncoder, prompt: Prompt, prompts: Sequence[str], answers: Sequence[str], ends: Sequence[str]
) -> list[Continuation]:
    bare = encoder.encode(prompts)
    together = zip(prompts, answers, ends, strict=True)
    whole = encoder.encode([before + prompt.space + answer + end for before, answer, end in together])
    return [
        continuation(encoder, alone, tokens, answer, place="{answer}", what="answer")
        for alone, tokens, answer in zip(bare, whole, answers, strict=True)
    ]


def _stacked(continuations: Sequence[Continuation], encoder: TextEncoder) -> Batch:
    return stacked(continuations, padding=encoder.padding, max_length=encoder.max_length)
