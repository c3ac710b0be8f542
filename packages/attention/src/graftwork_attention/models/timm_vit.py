"""Vision transformers of timm, random or pretrained, for images in 0..1 of any size and channels."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graftwork import GraftworkError, Kind, UnknownNameError, choose, get_registry
from graftwork_trainer.attention import RECORD
from graftwork_trainer.plain_json import read_json


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
        reason = textwrap.shorten(str(error) or type(error).__name__, 200, placeholder=" ...").rstrip(".")
        raise GraftworkError(f"{what}: timm cannot make it: {reason}") from error
    if not isinstance(model, (VisionTransformer, NaFlexVit)):
        raise GraftworkError(
            f"{what} is a {type(model).__name__}; timm-vit builds VisionTransformer (ViT, DeiT, DINOv2) and "
            "NaFlexVit"
        )
    if not pretrained:
        _takes_plain_images(model, settings["in_chans"])
    return model


def _pretrained(weights: str, channels: int, settings: Mapping[str, Any]) -> nn.Module:
    folder = _folder_of(weights)
    what, name = f"weights {weights!r}", f"local-dir:{folder}"
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise GraftworkError(f"{what}: {folder} has no {file}, as which timm saves a model")
    config = read_json(folder / "config.json")
    if not isinstance(config, Mapping):
        raise GraftworkError(f"{what}: {folder / 'config.json'} must hold an object")
    if RECORD in config:
        raise GraftworkError(
            f"{what}: the attention of this model was replaced, so its weights fit no model of timm; take "
            "those from before that, or load it by load_converted of graftwork_attention.conversion"
        )
    with torch.device("cpu"):  # a dry run, which asked for it, is on meta
        state = _plain_state(_made(name, settings, what, pretrained=True), channels, what)
    model = _made(name, {**settings, "in_chans": channels}, what)
    if next(model.parameters()).device.type != "meta":
        model.load_state_dict(state)
    return model


def _plain_state(model: Any, channels: int, what: str) -> dict[str, Tensor]:
    """The state of a pretrained model, made for images in 0..1 of so many channels."""
    from timm.layers.patch_embed import PatchEmbed

    # Other patches (NaFlexViT's, those behind a convolutional network) are subclasses or no such class.
    if type(getattr(model, "patch_embed", None)) is not PatchEmbed:
        raise GraftworkError(
            f"{what}: {type(model).__name__} has no patches that one convolution makes, so its mean and "
            "deviation cannot be put into them; take a ViT, DeiT or DINOv2-shaped one"
        )
    projection = model.patch_embed.proj
    own = projection.in_channels
    mean, deviation = (model.pretrained_cfg.get(name) or () for name in ("mean", "std"))
    if not len(mean) == len(deviation) == own:
        raise GraftworkError(
            f"{what}: images have {own} channels there, and its config.json gives the mean of {len(mean)} "
            f"and the std of {len(deviation)}; they must be as many"
        )
    if own not in (3, channels):
        raise GraftworkError(
            f"{what}: these are for images of {own} channels, and the images here have {channels}; weights "
            "for 3 channels can be brought to any number"
        )
    weight, bias = without_normalisation(projection.weight, projection.bias, mean, deviation)
    state: dict[str, Tensor] = {
        **model.state_dict(),
        "patch_embed.proj.weight": _for_channels(weight, channels),
    }
    if projection.bias is not None:
        state["patch_embed.proj.bias"] = bias
    elif bias.any():
        raise GraftworkError(
            f"{what}: its patches have no bias, into which its mean {tuple(mean)} would go; take "
            "weights whose patches have one"
        )
    return state


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
    """Of one channel the sum, as of a grey image given three times; of others than there are as timm does."""
    from timm.models import adapt_input_conv

    if channels == weight.shape[1]:
        return weight
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


def _takes_plain_images(model: Any, channels: int) -> None:
    """Say in what timm saves of a model that its images are in 0..1 as they are."""
    model.pretrained_cfg = {**model.pretrained_cfg, "mean": (0.0,) * channels, "std": (1.0,) * channels}


def _patch_side(model: Any) -> int | None:
    size = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    return None if size is None else int(size[0])
