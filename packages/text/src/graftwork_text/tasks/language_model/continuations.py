"""How held-out texts go on, beside what a model writes: the likeliest token, again and again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftwork_text.tasks.language_model.token_cache import TokenizedCorpus
from graftwork_trainer.tables import write_csv

_TEXTS = 8
# Many corpora may be computed on and not passed on, and a report is passed on: short phrases only.
_BEGINNING_TOKENS, _WRITTEN_TOKENS = 16, 32


def write_continuations(path: Path, model: nn.Module, text: TokenizedCorpus, longest: int) -> None:
    """Write a few beginnings of held-out documents with both their continuations.

    Args:
        path: of a ``.csv`` file; not written where no document is long enough.
        model: in evaluation mode; it is called equally often whatever it writes, as sharded ones must be.
        text: the documents, and the tokenizer.
        longest: tokens that the model sees at once.
    """
    beginning = min(_BEGINNING_TOKENS, longest // 2)
    documents = list(islice(_long_documents(text, 2 * beginning), _TEXTS))
    if not beginning or not documents:
        return
    prompts = np.stack([document[:beginning] for document in documents]).astype(np.int64)
    written = continued(model, torch.from_numpy(prompts), min(_WRITTEN_TOKENS, longest - beginning))
    tokenizer = text.tokenizer()
    rows = []
    for document, tokens in zip(documents, written.tolist(), strict=True):
        end = tokens.index(text.end_of_text) if text.end_of_text in tokens else len(tokens)
        rest = document[beginning : beginning + len(tokens)]
        pieces = (document[:beginning].tolist(), rest.tolist(), tokens[:end])
        rows.append([" ".join(tokenizer.decode(piece).split()) for piece in pieces])
    write_csv(path, ["beginning", "how the text goes on", "what the model writes"], rows)


def continued(model: nn.Module, prompts: Tensor, count: int) -> Tensor:
    """The likeliest tokens after each prompt.

    Args:
        model: gives logits of the next token, or an object that has them.
        prompts: int64 [texts, tokens], all of one length.
        count: how many tokens.

    Returns:
        int64 [texts, count], on the CPU.
    """
    tokens = prompts.to(next(model.parameters()).device)
    for _ in range(count):
        tokens = torch.cat([tokens, logits_of(model(tokens))[:, -1:].argmax(2)], 1)
    return tokens[:, prompts.shape[1] :].cpu()


def logits_of(output: Any) -> Tensor:
    """What a model returned, or the logits in it; [batch, tokens, vocabulary]."""
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


def _long_documents(text: TokenizedCorpus, fewest: int) -> Iterator[NDArray[Any]]:
    """The held-out documents with so many tokens at least, in order."""
    tokens = np.asarray(text.validation)
    start = 0
    for end in np.flatnonzero(tokens == text.end_of_text).tolist():
        if end - start >= fewest:
            yield tokens[start:end]
        start = end + 1
