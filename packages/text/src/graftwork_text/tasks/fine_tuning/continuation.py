"""Continuations of prompts: their tokens, cut to length, and how likely a causal model finds them.

A continuation is the tokens of prompt and words together, and how many of them at the end are the words':
those that the whole has more than the prompt alone (MeZO, arXiv:2305.17333). Where the tokenizer merges
across the boundary that count is off, and where it is none at all that is an error. What is too long loses
the start of its prompt, behind the special tokens.

A batch of them has ``input_ids`` and ``attention_mask`` [rows, tokens], padded on the left, and
``option_mask`` [rows, longest words]: 1 where one of the last tokens of the row is the words'.

Raises:
    GraftworkError: no token is the words', or none is left of the prompt.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.errors import GraftworkError
from graftwork_text.tasks.fine_tuning.encoding import Batch, TextEncoder, Tokens

Continuation = tuple[Tokens, int]


def continuations(
    encoder: TextEncoder,
    prompts: Sequence[Tokens],
    wholes: Sequence[str],
    words: Sequence[str],
    *,
    place: str,
    what: str,
) -> list[Continuation]:
    """Tokenize prompts with their words, cut to length.

    Args:
        encoder: of the tokenizer.
        prompts: tokens of the prompts alone.
        wholes: prompts and words together.
        words: what goes on from each prompt, for messages.
        place: where the template has them, for messages.
        what: the words' kind, for messages.
    """
    together = zip(prompts, encoder.encode(wholes), words, strict=True)
    return [_cut(encoder, prompt, whole, said, place, what) for prompt, whole, said in together]


def _cut(
    encoder: TextEncoder, prompt: Tokens, whole: Tokens, words: str, place: str, what: str
) -> Continuation:
    count = len(whole) - len(prompt)
    room = encoder.max_length - len(encoder.prefix)
    if count < 1:
        raise GraftworkError(
            f"the tokenizer merges the {what} {words!r} with the end of the prompt, so that no "
            f"token is theirs; put white space or punctuation before {place} in the template"
        )
    if count + 1 > room:
        raise GraftworkError(
            f"max_length = {encoder.max_length} leaves no room for a prompt before the {what} "
            f"{words!r}, which are {count} tokens"
        )
    if not encoder.prefix and count == len(whole):
        raise GraftworkError(
            f"a prompt without any token stands before the {what} {words!r}; put some words of the "
            f"template before {place} (or give content_free, where scores are calibrated)"
        )
    return [*encoder.prefix, *whole[-room:]], count


def stacked(continuations: Sequence[Continuation], encoder: TextEncoder) -> Batch:
    """Stack continuations, at least one.

    Args:
        continuations: of prompts.
        encoder: of the tokenizer.
    """
    counts = torch.tensor([count for _, count in continuations])
    batch = encoder.padded([tokens for tokens, _ in continuations], "left")
    option_mask = torch.arange(int(counts.max()), 0, -1) <= counts.unsqueeze(1)
    return {**batch, "option_mask": option_mask.long()}


def causal_output(model: nn.Module, tokens: Tensor, mask: Tensor, *, keep: int, **others: Any) -> Any:
    """What a causal model says of the last tokens of rows that are padded on the left.

    Args:
        model: a causal language model.
        tokens: int64 [rows, tokens], the last ones of each row.
        mask: [rows, all tokens], 1 where there is a token.
        keep: at how many of the last places its logits are wanted; it may give more.
        **others: further arguments of the model.
    """
    arguments: dict[str, Any] = {"input_ids": tokens, "attention_mask": mask, **others}
    if accepts(model, "position_ids"):
        arguments["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    if accepts(model, "logits_to_keep"):
        arguments["logits_to_keep"] = keep
    return model(**arguments)


def last_logits(model: nn.Module, batch: Batch, count: int) -> Tensor:
    """What a causal model predicts at the last places; [rows, count or more, vocabulary]."""
    logits: Tensor = causal_output(model, batch["input_ids"], batch["attention_mask"], keep=count).logits
    return logits


def summed_log_probabilities(model: nn.Module, batch: Batch) -> Tensor:
    """Log-probabilities of the words after their prompts, summed over tokens; float32 [rows].

    Args:
        model: a causal language model.
        batch: of :func:`stacked`, on the model's device.
    """
    longest = batch["option_mask"].shape[1]
    logits = last_logits(model, batch, longest + 1)
    predicted = torch.log_softmax(logits[:, -longest - 1 : -1].float(), -1)
    tokens = batch["input_ids"][:, -longest:]
    return (predicted.gather(2, tokens.unsqueeze(2)).squeeze(2) * batch["option_mask"]).sum(1)


def accepts(model: nn.Module, option: str) -> bool:
    """Whether a model's forward has a parameter of this name.

    Args:
        model: bare, or inside DistributedDataParallel.
        option: the parameter.
    """
    inner: Any = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    # Of the class: what a hook puts in the instance's place may take anything.
    return option in _parameters_of(type(inner).forward)


@cache
def _parameters_of(forward: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(forward).parameters)
