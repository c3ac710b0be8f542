"""Quantised weights in one GGUF file, made once into a folder that transformers loads, then cached.

The numbers stay those of the quantisation (say so beside any result); they are kept as bfloat16. Needs the
package ``gguf`` the first time.

Raises:
    GraftworkError: ``gguf`` is missing, or the cache cannot be written.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from graftwork.errors import GraftworkError
from graftwork.realdata import cache_directory, make_workshop


def dequantised(file: Path, *, name: str, sha256: str) -> Path:
    """Return the folder of a GGUF file's model: configuration, tokenizer and safetensors.

    Args:
        file: a GGUF file of an architecture that transformers reads.
        name: of the model.
        sha256: digest of the file, which names the cache entry.
    """
    entry = cache_directory("models", f"{name}-{sha256[:12]}-bfloat16")
    if entry.is_dir():
        return entry
    if importlib.util.find_spec("gguf") is None:
        raise GraftworkError(
            f"model {name!r} comes as a GGUF file, and unpacking it (once) needs the package gguf: "
            "pip install 'graftwork-text[gguf]'"
        )
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        workshop = make_workshop(entry)
    except OSError as error:
        raise GraftworkError(
            f"cannot write the cache {entry.parent} for {name}: {error.strerror}; GRAFTWORK_CACHE names "
            "another folder"
        ) from error
    try:
        content = workshop / "content"
        _convert(file, content)
        try:
            content.rename(entry)
        except OSError:
            # Another process was first, and its folder comes from the same file.
            if not entry.is_dir():
                raise
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return entry


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    quantised = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # The loaded model still counts as quantised and refuses to be saved, so its numbers move to a fresh one.
    settings = {
        key: value for key, value in quantised.config.to_dict().items() if key != "quantization_config"
    }
    auto_class: Any = AutoModelForCausalLM
    model = auto_class.from_config(AutoConfig.for_model(**settings))
    model.load_state_dict(quantised.state_dict())
    tokenizer.save_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder)
