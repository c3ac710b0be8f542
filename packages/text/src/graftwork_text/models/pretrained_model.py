"""What ``[model]`` of a fine-tuning task is: pretrained weights, under the head that the task needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from graftwork import Choice, GraftworkError
from graftwork_text.models.pretrained import Pretrained, find_pretrained

if TYPE_CHECKING:
    from torch import nn

_WEIGHTS = "minilm"
_CLASSES = {
    "encoder": "AutoModel",
    "classes": "AutoModelForSequenceClassification",
    "masked-lm": "AutoModelForMaskedLM",
    "causal-lm": "AutoModelForCausalLM",
}


def pretrained(head: str, *, weights: str = _WEIGHTS, random_weights: bool = False) -> nn.Module:
    """A model of transformers with pretrained weights, or of that shape with random ones.

    Args:
        head: what a task puts on it: encoder (none), classes, masked-lm or causal-lm.
        weights: minilm or smollm2-135m (fetched), another registered name, a folder of weights in
            transformers' format, or a hub name.
        random_weights: draw all weights afresh, as the architecture says, and keep the tokenizer: training
            from scratch.

    Raises:
        ValueError: there is no such head.
        GraftworkError: there are no such weights.
    """
    if head not in _CLASSES:
        raise ValueError(f"head must be one of {', '.join(_CLASSES)}, got {head!r}")
    found = replace(find_pretrained(weights), random=random_weights)
    return found.load(_CLASSES[head], dtype="float32")[0]


def pretrained_of(model: Choice | str | Callable[..., nn.Module]) -> Pretrained:
    """The weights that a task is given, not loaded yet.

    Args:
        model: a name or folder of weights; of a recipe, or code's own :func:`pretrained`, its options given
            by ``functools.partial``.

    Raises:
        GraftworkError: there are no such weights, or it is another model.
    """
    if isinstance(model, str):
        return find_pretrained(model)
    target: Any = model.target if isinstance(model, Choice) else model
    options = dict(model.options) if isinstance(model, Choice) else {}
    while isinstance(target, partial):
        target, options = target.func, {**target.keywords, **options}
    if target is not pretrained:
        name = model.entry.component.reference if isinstance(model, Choice) else repr(model)
        raise GraftworkError(
            f"{name} has no tokenizer, with which fine-tuning begins; take the model 'pretrained', whose "
            "option weights is a registered name or a folder"
        )
    found = find_pretrained(options.get("weights", _WEIGHTS))
    return replace(found, random=options.get("random_weights", False))
