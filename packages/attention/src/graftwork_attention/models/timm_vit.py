"""Vision transformers of timm, random or pretrained, for images in 0..1 of any size and channels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import GraftworkError, Kind, UnknownNameError, choose, get_registry


def timm_vit(
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    architecture: str = "vit_tiny_patch16_224",
    patch_size: int | None = None,
    weights: str | None = None,
) -> nn.Module:
    """A vision transformer of timm: ViT, DeiT, DINOv2-shaped or NaFlexViT.

    Pretrained weights expect images less a mean over a deviation. That is linear, and goes into the map of
    the patches, so the model takes images in 0..1 whatever its weights.

    Args:
        image_shape: channels, height and width.
        classes: logits that it returns.
        architecture: as timm calls it; vit_tiny_patch16_224, deit3_small_patch16_224 and
            naflexvit_base_patch16_gap for instance.
        patch_size: pixels a side of a patch; none for the architecture's.
        weights: vit-s-focus (fetched) or another registered name, or a folder that timm or a run wrote; none
            for random ones. They say the architecture.

    Raises:
        ValueError: an option is out of its range.
        GraftworkError: there is no such architecture or are no such weights, or they do not fit.
    """
    channels, height, width = image_shape
    if patch_size is not None and patch_size < 1:
        raise ValueError(f"patch_size must be at least 1, got {patch_size}")
    settings: dict[str, Any] = {"num_classes": classes, "img_size": (height, width)}
    if weights is None:
        if patch_size is not None:
            settings["patch_size"] = patch_size
        model = _made(architecture, {**settings, "in_chans": channels}, f"architecture {architecture!r}")
    else:
        if patch_size is not None:
            raise ValueError(
                "patch_size must be left out with weights, which are of patches of their own size"
            )
        model = _pretrained(weights, channels, settings)
    side = _patch_side(model)
    if side is not None and (height % side or width % side):
        raise GraftworkError(
            f"images of {height} x {width} pixels do not divide into patches of {side}; set patch_size to a "
            "number that divides them, or image_size of the task to a multiple"
        )
    return model


def _made(name: str, settings: Mapping[str, Any], what: str, *, pretrained: bool = False) -> nn.Module:
    import timm
    from timm.models.naflexvit import NaFlexVit
    from timm.models.vision_transformer import VisionTransformer

    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **settings)
    except Exception as error:  # what timm raises is of many kinds
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise GraftworkError(f"{what}: timm cannot make it: {reason}") from error
    if not isinstance(model, (VisionTransformer, NaFlexVit)):
        raise GraftworkError(
            f"{what} is a {type(model).__name__}; timm-vit builds VisionTransformer (ViT, DeiT, DINOv2) and "
            "NaFlexVit"
        )
    if not pretrained:
        _takes_plain_images(model)
    return model


def _pretrained(weights: str, channels: int, settings: Mapping[str, Any]) -> nn.Module:
    folder = _folder_of(weights)
    what, name = f"weights {weights!r}", f"local-dir:{folder}"
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise GraftworkError(f"{what}: {folder} has no {file}, as which timm saves a model")
    if not isinstance(json.loads((folder / "config.json").read_text("utf-8")), dict):
        raise GraftworkError(f"{what}: {folder / 'config.json'} must hold an object")
    with torch.device("cpu"):
        source = _made(name, settings, what, pretrained=True)
    projection = getattr(getattr(source, "patch_embed", None), "proj", None)
    if not isinstance(projection, nn.Conv2d):
        raise GraftworkError(
            f"{what}: {type(source).__name__} has no patches that a convolution makes, so its mean and "
            "deviation cannot be put into them; take a ViT, DeiT or DINOv2-shaped one"
        )
    kept: Any = source.pretrained_cfg
    weight, bias = without_normalisation(projection.weight, projection.bias, kept["mean"], kept["std"])
    model = _made(name, {**settings, "in_chans": channels}, what)
    state = {
        **source.state_dict(),
        "patch_embed.proj.weight": _for_channels(weight, channels),
        "patch_embed.proj.bias": bias,
    }
    if next(model.parameters()).device.type != "meta":
        model.load_state_dict(state)
    return model


def without_normalisation(
    weight: Tensor, bias: Tensor | None, mean: Any, deviation: Any
) -> tuple[Tensor, Tensor]:
    """The map of patches ``(x - mean) / deviation`` as one of patches ``x``.

    Args:
        weight: ``[width, channels, height, width]`` of a convolution without padding.
        bias: ``[width]``; None for none.
        mean: of each channel.
        deviation: of each channel.
    """
    shift = torch.tensor(mean, dtype=torch.float64)
    scaled = weight.detach().double() / torch.tensor(deviation, dtype=torch.float64)[:, None, None]
    moved = (scaled.sum((2, 3)) * shift).sum(1)
    start = torch.zeros_like(moved) if bias is None else bias.detach().double()
    return scaled.to(weight.dtype), (start - moved).to(weight.dtype)


def _for_channels(weight: Tensor, channels: int) -> Tensor:
    """Of three channels; of one the sum, as of a grey image given three times, of others as timm does."""
    from timm.models import adapt_input_conv

    adapted: Tensor = adapt_input_conv(channels, weight)
    return adapted


def _folder_of(weights: str) -> Path:
    try:
        get_registry().find_in(Kind.WEIGHTS, weights)
    except UnknownNameError as error:
        folder = Path(weights).expanduser()
        if not folder.is_dir():
            raise GraftworkError(
                f"weights {weights!r} is neither a folder nor a registered name ({error})"
            ) from error
        return folder
    return Path(str(choose(Kind.WEIGHTS, weights)()))


def _takes_plain_images(model: Any) -> None:
    """Say in what timm saves of a model that its images are in 0..1 as they are."""
    channels = len(model.pretrained_cfg.get("mean") or (0, 0, 0))
    model.pretrained_cfg = {**model.pretrained_cfg, "mean": (0.0,) * channels, "std": (1.0,) * channels}


def _patch_side(model: Any) -> int | None:
    size = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    return None if size is None else int(size[0])
