"""Converted models in folders: their weights, and what their attention is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from graftwork import GraftworkError
from graftwork_attention.conversion.building import Attention
from graftwork_attention.conversion.converting import convert
from graftwork_attention.conversion.record import RECORD, chosen_by, record_of
from graftwork_trainer.durable import write_durably
from graftwork_trainer.plain_json import read_json, to_json

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def save_converted(
    model: nn.Module, folder: str | Path, *, model_args: Mapping[str, Any] | None = None
) -> None:
    """Save a converted model.

    A model of transformers is saved by its own ``save_pretrained``, which is enough. One of timm is saved as
    ``model.safetensors`` and ``config.json``.

    Args:
        model: converted.
        folder: is made where it is not there.
        model_args: of a model of timm, what `timm.create_model` was given beside the architecture's name
            (``num_classes``, ``img_size``), so that :func:`load_converted` needs nothing else.

    Raises:
        GraftworkError: it was not converted, or the arguments cannot be written.
    """
    record = record_of(model)
    if record is None:
        raise GraftworkError(f"{type(model).__name__} was not converted: call convert(model, ...) before")
    folder = Path(folder)
    save_pretrained: Any = getattr(model, "save_pretrained", None)
    if save_pretrained is not None:
        if model_args:
            raise GraftworkError(
                "model_args are for models of timm: transformers keeps its own configuration"
            )
        save_pretrained(folder)
        return
    timms: Any = getattr(model, "pretrained_cfg", {})
    architecture = timms.get("architecture")
    config = {"architecture": architecture, "model_args": dict(model_args or {}), RECORD: dict(record)}
    try:
        text = to_json(config)
    except (TypeError, ValueError) as error:
        raise GraftworkError(f"model_args must be plain data that JSON can hold: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_durably(folder / _WEIGHTS, save(state, metadata={"format": "pt"}))
    write_durably(folder / _CONFIG, text.encode())


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
        model: of timm, made as the one that was saved, converted or not; it is filled. By default it is made
            by what was saved of it.
        dtype: of the weights; by default that in which they were saved.

    Returns:
        The model, in evaluation mode.

    Raises:
        GraftworkError: the folder holds none, its attention is not installed, or the weights do not fit.
    """
    folder = Path(folder)
    config = read_json(folder / _CONFIG)
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
        model = _made(config, folder / _CONFIG)
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


def _made(config: Mapping[str, Any], file: Path) -> nn.Module:
    """The model of timm that a configuration names."""
    import timm

    name, arguments = config.get("architecture"), config.get("model_args", {})
    if not isinstance(name, str) or not timm.is_model(name):
        raise GraftworkError(f"{file}: architecture must be the name of a model of timm, got {name!r}")
    try:
        made: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise GraftworkError(
            f"{file}: timm cannot make {name} with model_args={arguments!r}: {error}"
        ) from error
    return made
