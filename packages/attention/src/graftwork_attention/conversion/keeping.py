"""Converted models in folders: their weights, and what their attention is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from graftwork import GraftworkError
from graftwork_attention.conversion.building import Attention
from graftwork_attention.conversion.converting import convert
from graftwork_attention.conversion.record import chosen_by
from graftwork_trainer.attention import RECORD, record_of
from graftwork_trainer.model_folder.layouts import write_layout
from graftwork_trainer.plain_json import read_json

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def save_converted(model: nn.Module, folder: str | Path) -> None:
    """Save a converted model in its library's own layout, ``model.safetensors`` and ``config.json``.

    Of a model of transformers its own ``save_pretrained`` does the same. Of one with this package's encoder
    blocks the configuration says what its attention is, and no more.

    Args:
        model: converted.
        folder: is made where it is not there.

    Raises:
        GraftworkError: it was not converted.
    """
    record = record_of(model)
    if record is None:
        raise GraftworkError(f"{type(model).__name__} was not converted: call convert(model, ...) before")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if write_layout(model, model.state_dict(), folder) == "safetensors":
        text = json.dumps({RECORD: dict(record)}, indent=2)
        (folder / _CONFIG).write_text(f"{text}\n", "utf-8")


def load_converted(
    folder: str | Path,
    attention: Attention | None = None,
    *,
    model: nn.Module | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Load a model that was converted and saved.

    Args:
        folder: that ``save_pretrained`` or :func:`save_converted` wrote.
        attention: where the model was converted by a function without a registered name, that function.
        model: of timm or with this package's encoder blocks, made as the one that was saved, converted or
            not; it is filled. By default a model of timm is made by what was saved of it.
        dtype: of the weights; by default that in which they were saved.

    Returns:
        The model, in evaluation mode.

    Raises:
        GraftworkError: the folder holds none, its attention is not installed, or the weights do not fit.
    """
    folder = Path(folder)
    try:
        config = read_json(folder / _CONFIG)
    except OSError as error:
        raise GraftworkError(f"{folder / _CONFIG}: cannot be read: {error.strerror}") from error
    if not isinstance(config, Mapping) or RECORD not in config:
        raise GraftworkError(
            f"{folder / _CONFIG}: has no {RECORD}, so the model was not converted; load it by its own "
            "library, then call convert(model, ...)"
        )
    attention, max_len = chosen_by(config[RECORD], folder / _CONFIG, attention)
    if "architectures" in config:
        from graftwork_attention.conversion.transformers_loading import load_encoder

        return load_encoder(folder, attention, max_len, dtype)
    if model is None:
        if "architecture" not in config:
            raise GraftworkError(
                f"{folder / _CONFIG}: says what the attention is and not what the model is; give model, made "
                "as the one that was saved"
            )
        model = _made(folder)
    convert(model, attention, max_len=max_len)
    try:
        # In memory of their own: a file's is not aligned, and products of matrices differ in their last bits.
        state = {name: tensor.clone() for name, tensor in load_file(folder / _WEIGHTS).items()}
    except (OSError, SafetensorError) as error:
        raise GraftworkError(f"{folder / _WEIGHTS}: cannot be read: {error}") from error
    device = next((tensor.device for tensor in model.parameters()), None)
    try:
        model.load_state_dict(state, assign=True)  # in the dtypes of what was saved
    except RuntimeError as error:
        raise GraftworkError(
            f"{folder / _WEIGHTS}: the weights do not fit {type(model).__name__} as {folder / _CONFIG} makes "
            "it; give model, made as the one that was saved"
        ) from error
    model.to(device, dtype)
    return model.eval()


def _made(folder: Path) -> nn.Module:
    """The model of timm that a configuration describes, with fresh weights."""
    import timm

    try:
        made: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=False)
    except (AssertionError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise GraftworkError(
            f"{folder / _CONFIG}: timm cannot make the model: {error}; give model, made as the one that was "
            "saved"
        ) from error
    return made
