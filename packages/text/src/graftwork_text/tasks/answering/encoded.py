"""Questions as batches of tensors, in the three forms that training and evaluation need.

Rows are as :mod:`graftwork_text.tasks.fine_tuning.continuation` stacks them.

:func:`right_answers`: one row an example, the prompt with its (first) right answer.
:func:`free_answers`: that; the prompts alone, ``prompt_ids`` and ``prompt_mask`` [examples, width]; and
``questions`` int64 [examples], numbers by which the task finds the right answers.
:func:`choices`: a row for every option of every example; ``rows`` int64 [examples, most options] says which,
with -1 where an example has no more; ``right`` int64 [examples] is the place of the right option. Where
scores are calibrated, ``free_rows`` [examples, most options] are the same options after the prompt without
content.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from graftwork.errors import GraftworkError
from graftwork_text.corpora import Question
from graftwork_text.tasks.fine_tuning.continuation import Continuation, continuations, stacked
from graftwork_text.tasks.fine_tuning.encoding import Batch, Encoded, TextEncoder, Tokens, padded
from graftwork_text.tasks.fine_tuning.prompts import Prompt

# After which a generated answer is over, so it is what a free answer is taught to end with.
_END = "\n"


def right_answers(questions: Sequence[Question], encoder: TextEncoder, prompt: Prompt) -> Encoded:
    """Prompts with their right answers.

    Args:
        questions: of one part.
        encoder: of the model's tokenizer.
        prompt: what an answer goes on from.
    """
    prompts = [prompt.filled(prompt.before, question.texts) for question in questions]
    ends = ["" if question.options else _END for question in questions]
    rows = _continued(encoder, prompt, prompts, [question.answers[0] for question in questions], ends)
    return Encoded(
        [len(tokens) for tokens, _ in rows],
        lambda numbers: stacked([rows[number] for number in numbers], encoder),
    )


def free_answers(
    questions: Sequence[Question], encoder: TextEncoder, prompt: Prompt, *, first: int, generated: int
) -> Encoded:
    """Prompts with their right answers, and alone to generate answers from.

    Args:
        questions: of one part.
        encoder: of the model's tokenizer.
        prompt: what an answer goes on from.
        first: the number of the first of the questions.
        generated: tokens of an answer at most; together with the prompt they are no longer than a sequence.

    Raises:
        GraftworkError: no room is left for the prompt.
    """
    alone = free_prompts(questions, encoder, prompt, generated=generated)
    answered = right_answers(questions, encoder, prompt)

    def batch(numbers: NDArray[np.int64]) -> Batch:
        return {
            **answered.batch(numbers),
            **alone.batch(numbers),
            "questions": torch.from_numpy(numbers) + first,
        }

    return Encoded(answered.lengths, batch)


def free_prompts(
    questions: Sequence[Question], encoder: TextEncoder, prompt: Prompt, *, generated: int
) -> Encoded:
    """Prompts alone, to generate answers from: ``prompt_ids`` and ``prompt_mask``.

    Args:
        questions: to answer.
        encoder: of the model's tokenizer.
        prompt: what an answer goes on from.
        generated: tokens of an answer at most; together with the prompt they are no longer than a sequence.

    Raises:
        GraftworkError: no room is left for the prompt.
    """
    width = encoder.max_length - generated
    room = width - len(encoder.prefix)
    if room < 1:
        raise GraftworkError(
            f"max_length = {encoder.max_length} leaves no room for a prompt before max_new_tokens = "
            f"{generated}; choose a larger max_length (the model may allow fewer) or a smaller "
            "max_new_tokens"
        )
    bare = encoder.encode([prompt.filled(prompt.before, question.texts) for question in questions])
    prompts: list[Tokens] = [[*encoder.prefix, *tokens[-room:]] for tokens in bare]

    def batch(numbers: NDArray[np.int64]) -> Batch:
        chosen = [prompts[number] for number in numbers]
        alone = padded(chosen, padding=encoder.padding, side="left", max_length=width)
        return {"prompt_ids": alone["input_ids"], "prompt_mask": alone["attention_mask"]}

    return Encoded(list(map(len, prompts)), batch)


def choices(
    questions: Sequence[Question], encoder: TextEncoder, prompt: Prompt, *, calibrate: bool
) -> Encoded:
    """Prompts with each of their options.

    Args:
        questions: of one part.
        encoder: of the model's tokenizer.
        prompt: what an option goes on from.
        calibrate: have the options after the prompt without content too.
    """
    right = torch.tensor([question.right_option for question in questions], dtype=torch.int64)
    counts = np.array([len(question.options) for question in questions])
    starts = np.cumsum([0, *counts])
    options = [option for question in questions for option in question.options]
    prompts = [
        prompt.filled(prompt.before, question.texts) for question in questions for _ in question.options
    ]
    no_ends = [""] * len(options)
    rows = _continued(encoder, prompt, prompts, options, no_ends)
    free: list[Continuation] = []
    if calibrate:
        without_content = [prompt.without_content(prompt.before).lstrip()] * len(options)
        free = _continued(encoder, prompt, without_content, options, no_ends)

    def of(some: Sequence[Continuation], number: int) -> Sequence[Continuation]:
        return some[starts[number] : starts[number + 1]]

    def batch(numbers: NDArray[np.int64]) -> Batch:
        chosen = [option for number in numbers for option in of(rows, number)]
        behind = [option for number in numbers for option in of(free, number)]
        places = torch.arange(counts[numbers].max())
        each = torch.from_numpy(counts[numbers])[:, None]
        which = (each.cumsum(0) - each + places).masked_fill(places >= each, -1)
        together = {
            **stacked([*chosen, *behind], encoder),
            "rows": which,
            "right": right[torch.from_numpy(numbers)],
        }
        if free:
            together["free_rows"] = torch.where(which < 0, which, which + len(chosen))
        return together

    longest = [max(len(tokens) for tokens, _ in of(rows, number)) for number in range(len(questions))]
    return Encoded(longest, batch)


def _continued(
    encoder: TextEncoder, prompt: Prompt, prompts: Sequence[str], answers: Sequence[str], ends: Sequence[str]
) -> list[Continuation]:
    together = zip(prompts, answers, ends, strict=True)
    wholes = [before + prompt.space + answer + end for before, answer, end in together]
    return continuations(encoder, encoder.encode(prompts), wholes, answers, place="{answer}", what="answer")
