"""A study's common starting points on disk: tensors in a safetensors file, with a digest over all of them.

The file is whole or absent, and nothing in it can run code. The digest stands in the file's own metadata and
goes over names, dtypes, shapes and bytes, so that weights which are not those written are never started from.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from graftwork import GraftworkError

_DIGEST = "sha256"


def write_start(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write weights.

    Args:
        path: of the file; its folder is made if need be.
        state: by name, on any device.
    """
    path.parent.mkdir(exist_ok=True)
    # Copies, since two names of one tensor are refused.
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, {_DIGEST: _digest(tensors)})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def read_start(path: Path, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read weights.

    Args:
        path: of the file.
        like: of the names, dtypes and shapes that they must have.

    Raises:
        GraftworkError: the file was not written so, or the weights are another model's.
    """
    remedy = "delete it to train the start again"
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            written = (file.metadata() or {}).get(_DIGEST)
    except (OSError, ValueError, SafetensorError) as error:
        raise GraftworkError(f"{path}: is no starting point of a study ({error}); {remedy}") from error
    if written != _digest(tensors):
        raise GraftworkError(f"{path}: does not match its own digest; {remedy}")
    if _forms(tensors) != _forms(like):
        raise GraftworkError(f"{path}: holds the weights of another model; {remedy}")
    return tensors


def _forms(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name!r} {tensor.dtype} {list(tensor.shape)} ".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
