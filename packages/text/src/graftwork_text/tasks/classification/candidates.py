"""Scores of a causal language model: how likely each label's words are to go on from the prompt.

The score of a candidate is the mean log-probability of its tokens, the prompt's left out; training takes the
cross-entropy over an example's candidates, which stay in one batch (MeZO, arXiv:2305.17333). The prompt is
the template up to the label: what follows there is not read, so it may hold no text of the data. Calibrated
scores are sums instead, less the sums under the prompt without content, taken at the same weights in the same
batch.

Prompts are padded on the left and lose their start, after the special tokens, where they are too long.

Where the candidates of every example continue one and the same prompt by a single token, a batch holds each
prompt once: ``input_ids`` and ``attention_mask`` [examples, tokens], ``candidates`` [examples, labels] and
``labels`` [examples]. Otherwise it holds each prompt with each candidate: ``input_ids`` and
``attention_mask`` [examples * labels, tokens], ``option_mask`` [examples * labels, longest candidate] (1
where one of the last tokens of the row is the candidate's), and ``labels``. Prompts without content stand
behind the examples'.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork.errors import GraftworkError
from graftwork_text.corpora import LabelledExample
from graftwork_text.tasks.classification.scoring import labelled
from graftwork_text.tasks.fine_tuning.continuation import (
    Continuation,
    continuations,
    last_logits,
    stacked,
    summed_log_probabilities,
)
from graftwork_text.tasks.fine_tuning.encoding import Batch, Encoded, TextEncoder
from graftwork_text.tasks.fine_tuning.prompts import Prompt


class CandidateScoring:
    """Continue the prompt by the words of a label.

    Args:
        encoder: of the model's tokenizer.
        prompt: with a place for the words, at the end.
        calibrate: subtract what a candidate scores under a prompt without content.

    Raises:
        GraftworkError: the data's text stands after the label.
    """

    def __init__(self, encoder: TextEncoder, prompt: Prompt, *, calibrate: bool) -> None:
        if "{" in prompt.after.replace("{{", ""):
            raise GraftworkError(
                f"scoring 'causal-lm' reads the prompt up to the label, and the template goes on with "
                f"{prompt.after!r}; give a template of its own under [causal-lm], with {{label}} at the end"
            )
        self._encoder = encoder
        self._prompt = prompt
        self._calibrate = calibrate

    def encode(self, examples: Sequence[LabelledExample]) -> Encoded:
        """Tokenize prompts and candidates."""
        prompts = [self._prompt.filled(self._prompt.before, example.texts) for example in examples]
        free = [self._prompt.without_content(self._prompt.before).lstrip()] if self._calibrate else []
        continued = self._continued([*prompts, *free])
        without_content = continued[len(examples) :]
        one_token = all(map(_one_token_each, continued))

        def inputs(rows: NDArray[np.int64]) -> Batch:
            chosen = [continued[row] for row in rows]
            together = [*chosen, *without_content]
            if not one_token:
                return stacked([candidate for one in together for candidate in one], self._encoder)
            batch = self._encoder.padded([one[0][0][:-1] for one in together], "left")
            candidates = torch.tensor([[tokens[-1] for tokens, _ in one] for one in chosen])
            return {**batch, "candidates": candidates}

        lengths = [max(len(tokens) for tokens, _ in one) for one in continued[: len(examples)]]
        return labelled(examples, lengths, inputs)

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Log-probabilities of the candidates, float32 [examples, labels]."""
        if "candidates" in batch:
            return self._one_token_scores(last_logits(model, batch, 1)[:, -1], batch)
        sums = summed_log_probabilities(model, batch)
        if not self._calibrate:
            return (sums / batch["option_mask"].sum(1)).view(len(batch["labels"]), -1)
        by_example = sums.view(len(batch["labels"]) + 1, -1)
        return by_example[:-1] - by_example[-1]

    def _one_token_scores(self, logits: Tensor, batch: Batch) -> Tensor:
        predicted = torch.log_softmax(logits.float(), -1)
        if not self._calibrate:
            return predicted.gather(1, batch["candidates"])
        # The prompt without content has no label, so its row of candidates is the first example's.
        return predicted[:-1].gather(1, batch["candidates"]) - predicted[-1, batch["candidates"]]

    def _continued(self, prompts: Sequence[str]) -> list[tuple[Continuation, ...]]:
        """For each prompt and each candidate the tokens of both, and how many of them are the candidate's."""
        bare = self._encoder.encode(prompts)
        by_label = [
            continuations(
                self._encoder,
                bare,
                [prompt + self._prompt.space + words for prompt in prompts],
                [words] * len(prompts),
                place="{label}",
                what="label words",
            )
            for words in self._prompt.words
        ]
        return list(zip(*by_label, strict=True))


def _one_token_each(candidates: Sequence[Continuation]) -> bool:
    """Whether all candidates continue the same tokens, by one token each."""
    shared = candidates[0][0][:-1]
    return bool(shared) and all(count == 1 and tokens[:-1] == shared for tokens, count in candidates)
