"""In which layout a model is written: that of transformers or timm where it is theirs, else its tensors."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from graftwork_trainer.attention import RECORD, record_of
from graftwork_trainer.model_folder.tensors import without_twins

Layout = Literal["transformers", "timm", "safetensors"]
WEIGHTS = "model.safetensors"


def layout_of(model: nn.Module) -> Layout:
    """Whose model it is. A library that made a model has been imported."""
    transformers = sys.modules.get("transformers")
    if transformers is not None and isinstance(model, transformers.PreTrainedModel):
        return "transformers"
    if "timm" in sys.modules and hasattr(model, "pretrained_cfg"):
        return "timm"
    return "safetensors"


def write_layout(model: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> Layout:
    """Write a model's files.

    Args:
        model: not wrapped; may be spread over ranks.
        tensors: of it, whole.
        folder: that exists.
    """
    layout = layout_of(model)
    if layout == "transformers":
        transformers_model: Any = model
        with _quiet(), _keys_kept(transformers_model):
            transformers_model.save_pretrained(folder, state_dict=dict(tensors))
        return layout
    if layout == "timm":
        # In no public module, and the one place that knows with which arguments the model was built.
        save_config = importlib.import_module("timm.models._hub").save_config_for_hf
        record = record_of(model)
        further = {} if record is None else {RECORD: dict(record)}
        save_config(model, str(folder / "config.json"), model_config=further)
    from safetensors.torch import save_file

    kept, twins = without_twins(model, tensors)
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt", **twins})
    return layout


@contextmanager
def _keys_kept(model: Any) -> Iterator[None]:
    """Have the written model keep the keys and values of earlier tokens: training has no use for that, and
    generation is slow without."""
    configs: list[Any] = [getattr(model, name, None) for name in ("config", "generation_config")]
    having = [config for config in configs if hasattr(config, "use_cache")]
    before = [config.use_cache for config in having]
    for config in having:
        config.use_cache = True
    try:
        yield
    finally:
        for config, value in zip(having, before, strict=True):
            config.use_cache = value


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bar for every file."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
