"""Causal language models with pretrained weights, which go on from there on other text.

Weights come from a folder in transformers' layout (``config.json``, ``model.safetensors`` or its shards, and
the files of the tokenizer), or from weights that a plugin registers. Text is split as the weights were
trained to see it: ``lm-pretrain`` takes the tokenizer that lies beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from graftwork import Choice, GraftworkError
from graftwork_text.models.pretrained import Precision, Pretrained, find_pretrained

if TYPE_CHECKING:
    from torch import nn

_WEIGHTS = "smollm2-135m"


def pretrained_lm(vocab_size: int, *, weights: str = _WEIGHTS, dtype: Precision = "float32") -> nn.Module:
    """A causal language model with pretrained weights.

    Args:
        vocab_size: number of tokens, as the task's tokenizer counts them; the model may have further rows.
        weights: smollm2-135m (fetched) or another registered name, or a folder in transformers' format.
        dtype: of the weights.

    Raises:
        GraftworkError: there are no such weights, part of the model is not in them, or the model has fewer
            tokens than the tokenizer.
    """
    pretrained = causal_weights(weights)
    model, missing = pretrained.load("AutoModelForCausalLM", dtype=dtype)
    if missing:
        raise GraftworkError(
            f"model {weights!r} has no weights for {', '.join(sorted(missing)[:3])}, which a causal language "
            "model needs: the folder is incomplete, or of another kind of model"
        )
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    if embeddings.num_embeddings < vocab_size:
        raise GraftworkError(
            f"model {weights!r} knows {embeddings.num_embeddings} tokens, and its tokenizer {vocab_size}: "
            "they do not belong together"
        )
    return model


def causal_weights(weights: str) -> Pretrained:
    """Find weights that lie in a folder, or will once they are fetched.

    Raises:
        GraftworkError: they are neither registered nor a folder.
    """
    pretrained = find_pretrained(weights)
    if not pretrained.is_local():
        raise GraftworkError(
            f"model.weights must be a registered name or a folder in transformers' format, got {weights!r}"
        )
    return pretrained


def brought_with(model: Choice | Callable[..., nn.Module]) -> Pretrained | None:
    """The weights that a model is built with, and with them their tokenizer; None where it begins fresh.

    Args:
        model: of a recipe, or a function of ``vocab_size``.
    """
    target: Any = model.target if isinstance(model, Choice) else model
    options = dict(model.options) if isinstance(model, Choice) else {}
    while isinstance(target, partial):
        target, options = target.func, {**target.keywords, **options}
    return causal_weights(options.get("weights", _WEIGHTS)) if target is pretrained_lm else None
