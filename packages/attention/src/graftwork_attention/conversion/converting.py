"""One call for the models of every library."""

from __future__ import annotations

from typing import Any

from torch import nn

from graftwork import GraftworkError, Kind, choose
from graftwork_attention.conversion.building import Attention
from graftwork_attention.conversion.record import forget_record
from graftwork_attention.conversion.site import converted_in
from graftwork_trainer.attention import convert_attention, record_of


def convert(
    model: nn.Module, attention: str | Attention = "s3", *, max_len: int | None = None, **options: Any
) -> nn.Module:
    """Replace every self-attention of a model of transformers or timm by a mixer.

    A mixer starts from the model's own maps to queries, keys, values and output where it has such; what it
    has no place for is kept beside it, in no state, so that `sdpa`, another and `sdpa` again give the first
    outputs. Biases and the dropout of attention weights are as they were, unless options say otherwise.

    Args:
        model: changed in place; other libraries' too, where something installed converts them.
        attention: a registered name, a plugin's too, or ``plugin:name``; the choice of a recipe; or a
            function of ``(dim, heads, max_len, *, layer_index)``.
        max_len: the largest number of tokens; by default what the model is made for.
        options: of the attention that is named.

    Returns:
        The same model.

    Raises:
        GraftworkError: the model cannot be converted, or the attention does not fit it; it is as before then.

    >>> from transformers import BertConfig, BertModel
    >>> sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    >>> model = BertModel(BertConfig(vocab_size=99, num_hidden_layers=1, **sizes))
    >>> convert(model, "s3", max_len=64, tokens=4).config.graftwork_attention["name"]
    's3'
    """
    if not isinstance(model, nn.Module):
        raise GraftworkError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not isinstance(attention, str) and not callable(attention):
        raise GraftworkError(
            "attention must be a registered name, the choice of a recipe or a function, got "
            f"{type(attention).__name__}"
        )
    if options and not isinstance(attention, str):
        raise GraftworkError(f"{', '.join(options)}: options go with the name of an attention")
    if isinstance(attention, str):
        attention = choose(Kind.ATTENTION, attention, options)
    return convert_attention(model, attention, max_len=max_len)


def restore(model: nn.Module) -> nn.Module:
    """Put a converted model's own attention back, with what training has made of its linear maps.

    Args:
        model: changed in place; one that was not converted stays as it is.

    Returns:
        The same model.

    Raises:
        GraftworkError: a map is nowhere any more: the mixer has no place for it, and the model was loaded; or
            the model's blocks are made for any mixer.
    """
    sites = converted_in(model)
    if not sites and record_of(model) is not None:
        raise GraftworkError(
            f"the attention of {type(model).__name__} cannot be restored: its blocks are made for any mixer "
            "and keep none; call convert(model, ...) with the attention that it had, to go on from its maps"
        )
    if sites and record_of(model) is None:
        raise GraftworkError(
            f"{type(model).__name__} was not converted, but a model inside it was: give that to restore"
        )
    for site in sites:
        if why := site.refusal():
            raise GraftworkError(
                f"the attention of {type(model).__name__} cannot be restored: its "
                f"{type(site.own).__name__} {why}"
            )
        if lost := site.lost():
            raise GraftworkError(
                f"the attention of {type(model).__name__} cannot be restored: its own {lost} was not saved, "
                "as the mixer has no place for it; load the model that was converted"
            )
    for site in sites:
        before = site.restore()
    if sites:
        _as_before(model, before)
    return model


def _as_before(model: Any, setting: Any) -> None:
    """Take back what else conversion has changed of a model."""
    if hasattr(model, "set_attn_implementation"):  # of transformers
        model.set_attn_implementation(setting)
    elif setting is not None:  # a NaFlexViT of timm
        model.use_key_only_attn_mask = setting
    forget_record(model)
