"""Encoders of transformers that were converted and saved, with transformers' own loading of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from graftwork import GraftworkError
from graftwork_attention.conversion.building import Attention
from graftwork_attention.conversion.site import MixerAttention, converted_in
from graftwork_attention.conversion.transformers_encoders import convert_encoder


def load_encoder(
    folder: Path, attention: Attention, max_len: int, dtype: torch.dtype | None
) -> PreTrainedModel:
    """Load a model of the class that its configuration names, converted before its weights are read.

    Raises:
        GraftworkError: transformers has no such class, or the weights do not fit.
    """
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    name = (config.architectures or [""])[0]
    cls = getattr(transformers, name, None)
    if not (isinstance(cls, type) and issubclass(cls, PreTrainedModel)):
        raise GraftworkError(
            f"{folder / 'config.json'}: architectures must name a model of transformers "
            f"{transformers.__version__}, got {name!r}"
        )
    # transformers makes the model itself, without memory for its weights, which it then reads.
    converted = type(
        cls.__name__, (cls,), {"__module__": cls.__module__, "__init__": _converting(cls, attention, max_len)}
    )
    try:
        model, report = converted.from_pretrained(  # type: ignore[attr-defined]
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            dtype=dtype or "auto",
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, GraftworkError):
            raise
        raise GraftworkError(f"{folder}: the weights cannot be loaded: {error}") from error
    model.__class__ = cls
    for what in ("missing_keys", "unexpected_keys"):
        if report[what]:
            raise GraftworkError(
                f"{folder}: the weights do not fit {name} with this attention: {min(report[what])} is "
                f"{what.removesuffix('_keys')}; give the attention that it was converted to"
            )
    _fill_buffers(model, attention, max_len)
    loaded: PreTrainedModel = model.eval()
    return loaded


def _converting(cls: Any, attention: Attention, max_len: int) -> Any:
    def __init__(self: Any, config: Any, *positional: Any, **named: Any) -> None:  # noqa: N807
        cls.__init__(self, config, *positional, **named)
        convert_encoder(self, attention, max_len=max_len)

    return __init__


def _fill_buffers(model: nn.Module, attention: Attention, max_len: int) -> None:
    """Make the buffers of mixers that are in no state: transformers leaves them unset."""
    for index, site in enumerate(converted_in(model)):
        assert isinstance(site.attention, MixerAttention)
        mixer = site.attention.mixer
        unsaved = {name for name, _ in mixer.named_buffers()} - mixer.state_dict().keys()
        if unsaved:
            dim, heads = site.sizes
            fresh = dict(attention(dim, heads, max_len, layer_index=index).named_buffers())
            for name in unsaved:
                mixer.get_buffer(name).copy_(fresh[name])
