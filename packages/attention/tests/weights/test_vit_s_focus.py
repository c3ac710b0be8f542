"""The pretrained vision transformer: matrices by their biases, and, fetched, its outputs as ONNX."""

from __future__ import annotations

import re

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

from graftwork import GraftworkError
from graftwork_attention.weights.onnx_file import Node
from graftwork_attention.weights.vit_s_focus import backbone, vit_s_focus

_THEIRS = "backbone.encoder.layer"


def exported(state: dict[str, torch.Tensor]) -> tuple[dict[str, np.ndarray], list[Node]]:
    """timm's state as the file has it: matrices without names, transposed, with the biases behind them."""
    tensors = {
        "backbone.embeddings.cls_token": state["cls_token"],
        "onnx::Concat_1": state["pos_embed"][:, :1],
        "onnx::Reshape_2": state["pos_embed"][:, 1:],
        "backbone.embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "backbone.embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "backbone.layernorm.weight": state["norm.weight"],
        "backbone.layernorm.bias": state["norm.bias"],
        "decoder.bias": torch.zeros(3),
    }
    nodes = []

    def linear(name: str, weight: torch.Tensor, bias: torch.Tensor, *, first: bool) -> None:
        matrix = f"onnx::MatMul_{len(nodes)}"
        tensors[matrix], tensors[f"{name}.bias"] = weight.T, bias
        nodes.append(Node("MatMul", ("x", matrix), (f"{matrix}_y",)))
        order = (f"{name}.bias", f"{matrix}_y")
        nodes.append(Node("Add", order if first else order[::-1], ("z",)))

    for number in range(12):
        ours, theirs = f"blocks.{number}", f"{_THEIRS}.{number}"
        weights, biases = (state[f"{ours}.attn.qkv.{kind}"].chunk(3) for kind in ("weight", "bias"))
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            linear(f"{theirs}.attention.attention.{name}", weight, bias, first=name == "key")
        for name, part in (
            ("attn.proj", "attention.output.dense"),
            ("mlp.fc1", "mlp.fc1"),
            ("mlp.fc2", "mlp.fc2"),
        ):
            linear(
                f"{theirs}.{part}", state[f"{ours}.{name}.weight"], state[f"{ours}.{name}.bias"], first=True
            )
        for norm in ("norm1", "norm2"):
            for kind in ("weight", "bias"):
                tensors[f"{theirs}.{norm}.{kind}"] = state[f"{ours}.{norm}.{kind}"]
        for place in (1, 2):
            tensors[f"{theirs}.layer_scale{place}.lambda1"] = state[f"{ours}.ls{place}.gamma"]
    return {name: tensor.numpy() for name, tensor in tensors.items()}, nodes


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    model = timm.create_model("vit_small_patch14_dinov2", num_classes=0)
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(value.shape, generator=generator) for name, value in model.state_dict().items()}


def test_what_was_exported_comes_back(state: dict[str, torch.Tensor]) -> None:
    found = backbone(*exported(state), "m.onnx")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("lost", "sentence"),
    [
        ("backbone.layernorm.bias", "m.onnx: has no backbone.layernorm.bias"),
        (f"{_THEIRS}.3.attention.attention.key.bias", f"has no {_THEIRS}.3.attention.attention.key.bias"),
        ("onnx::MatMul_0", f"has no {_THEIRS}.0.attention.attention.query.weight"),
        ("onnx::Reshape_2", "has no table of 1370 positions"),
    ],
)
def test_what_is_not_there_is_named(state: dict[str, torch.Tensor], lost: str, sentence: str) -> None:
    tensors, nodes = exported(state)
    del tensors[lost]
    with pytest.raises(GraftworkError, match=re.escape(sentence)):
        backbone(tensors, nodes, "m.onnx")


@pytest.mark.realdata
def test_the_fetched_weights_give_what_they_gave_as_onnx() -> None:
    """The numbers are those of onnxruntime 1.32 on the file's own graph, behind the last norm."""
    try:
        source = f"local-dir:{vit_s_focus()}"
    except GraftworkError as error:
        if "could not fetch" in str(error):
            pytest.skip(str(error))
        raise
    model = timm.create_model(source, pretrained=True, img_size=224, num_classes=0).eval()
    whole = timm.create_model(source, pretrained=True, num_classes=0).pos_embed
    # The file resizes positions without smoothing, timm with it.
    grid = whole[:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (16, 16), mode="bicubic", align_corners=False)
    with torch.no_grad():
        model.pos_embed.copy_(torch.cat([whole[:, :1], grid.flatten(2).transpose(1, 2)], 1))
        image = np.sin(np.arange(3 * 224 * 224) * 0.37).astype(np.float32).reshape(1, 3, 224, 224)
        features = model.forward_features(torch.from_numpy(image))[0]
    for token, expected in {
        0: [0.566332, -0.3800868, 1.6386752, -3.6541474, -0.9101688],
        1: [0.8979973, -1.1177566, 0.29107252, -3.4768238, -1.5243459],
        256: [1.1294041, 0.17199296, 0.45582104, -3.6753275, -0.9083292],
    }.items():
        torch.testing.assert_close(features[token, :5], torch.tensor(expected), rtol=0, atol=5e-5)
