"""Tensors in a safetensors file whose SHA-256 is taken while it is written.

The format is eight bytes of length, a JSON header and the bytes of the tensors one after the other
(https://github.com/huggingface/safetensors). The library's own writer keeps all bytes to itself until the
file is closed, so that a digest would cost reading it again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from graftwork import GraftworkError
from graftwork_trainer.checkpoint.geometry import Extent, Piece

_CHUNK = 1 << 24

_NAMES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.int64: "I64",
    torch.uint64: "U64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float64: "F64",
}
DTYPES = {name: dtype for dtype, name in _NAMES.items()}
"""Of the names that the format has for them."""


def check_storable(name: str, tensor: Tensor) -> None:
    """Refuse a dtype that the format has no name for.

    Raises:
        GraftworkError: it is such a one.
    """
    if not tensor.is_complex() and tensor.dtype not in _NAMES:
        raise GraftworkError(
            f"{name} has dtype {tensor.dtype}, which a checkpoint cannot hold; known are complex ones and "
            f"{', '.join(str(dtype).removeprefix('torch.') for dtype in _NAMES)}"
        )


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, str | int]:
    """Write a file and bring it to the disk.

    Args:
        path: of the file, which must not exist.
        tensors: whole, of any device and layout in memory.

    Returns:
        Its ``sha256`` and ``bytes``.

    Raises:
        OSError: it cannot be written.
    """
    real = {name: _real(tensor) for name, tensor in tensors.items()}
    header: dict[str, object] = {}
    end = 0
    for name, tensor in real.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("xb", buffering=0) as file:

        def put(data: bytes | memoryview) -> None:
            digest.update(data)
            left = memoryview(data)
            while left:  # a raw file may take less than it is given
                left = left[file.write(left) :]

        put(len(text).to_bytes(8, "little") + text)
        for tensor in real.values():
            flat = tensor.cpu().contiguous().reshape(-1)
            if flat.numel():
                data = memoryview(flat.view(torch.uint8).numpy().data)
                for start in range(0, len(data), _CHUNK):
                    put(data[start : start + _CHUNK])
        os.fsync(file.fileno())
    return {"sha256": digest.hexdigest(), "bytes": 8 + len(text) + end}


def check_shard(path: Path, pieces: Mapping[str, tuple[Extent, torch.dtype]]) -> None:
    """See that a file holds what its index says.

    Args:
        path: of the file.
        pieces: size of what it should hold of each tensor, and the tensor's dtype.

    Raises:
        GraftworkError: it does not.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            for name, (extent, dtype) in pieces.items():
                found = file.get_slice(name)
                told = _NAMES.get(dtype.to_real()), (*extent, 2) if dtype.is_complex else extent
                if (found.get_dtype(), tuple(found.get_shape())) != told:
                    raise GraftworkError(f"{path.name} holds {name!r} in another shape or dtype than is told")
    except SafetensorError as error:
        raise GraftworkError(f"{path.name} does not hold what is told of it: {error}") from error


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_piece(path: Path, name: str, stored: Piece, wanted: Piece, dtype: torch.dtype) -> Tensor:
    """Read what lies in both of two pieces of a tensor.

    Args:
        path: of the file.
        name: of the tensor.
        stored: what of the tensor the file holds.
        wanted: a piece within it.
        dtype: of the tensor.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        found: Tensor = file.get_slice(name)[wanted.within(stored)]
    return torch.view_as_complex(found) if dtype.is_complex else found


def _real(tensor: Tensor) -> Tensor:
    """Complex numbers as pairs, along a last dimension."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
