"""Named settings of S3Attention, and what may be set in their place.

The paper (arXiv:2408.08567) and its authors' code for the Long Range Arena and for forecasting differ in
these; ``robust`` is none of the three: it normalises each token by itself and places landmarks by the length
of the sample, so that masks, single samples and any length mean what they say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

Preset = Literal["robust", "paper", "reference-lra", "reference-forecast"]
Norm = Literal["layer", "position_batch", "channel_batch"]
Activation = Literal["relu", "elu", "gelu"]
KernelInit = Literal["kaiming-normal", "kaiming-uniform", "scaled"]
Landmarks = Literal["relative", "fixed"]
ChannelScale = Literal["valid", "max"]
FoldStem = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a preset decides; the options of :class:`~graftwork_attention.S3Attention` explain each."""

    segments: int | Literal["dim"] = 8
    stem_kernel: int = 3
    activation: Activation = "relu"
    norm: Norm = "layer"
    norm_eps: float = 1e-5
    kernel_init: KernelInit = "kaiming-normal"
    qkv_bias: bool = True
    out_proj: bool = True
    landmarks: Landmarks = "relative"
    channel_scale: ChannelScale = "valid"


_PAPER = Settings(norm="position_batch", landmarks="fixed", channel_scale="max")

PRESETS: dict[str, Settings] = {
    "robust": Settings(),
    "paper": _PAPER,
    # One group a channel: that code takes no mean over segments.
    "reference-lra": replace(
        _PAPER, segments="dim", stem_kernel=1, activation="elu", kernel_init="kaiming-uniform"
    ),
    "reference-forecast": replace(
        _PAPER, activation="elu", kernel_init="kaiming-uniform", qkv_bias=False, out_proj=False
    ),
}


def settings_of(preset: str, **given: Any) -> Settings:
    """The settings of a preset, with those that were given in place of its own.

    Args:
        preset: one of :data:`PRESETS`.
        given: fields of :class:`Settings`; None leaves the preset's.

    Raises:
        ValueError: there is no such preset.

    >>> settings_of("paper", activation="gelu", norm=None).norm
    'position_batch'
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    return replace(PRESETS[preset], **{name: value for name, value in given.items() if value is not None})


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a word that is none of the choices.

    Raises:
        ValueError: with the choices.

    >>> check_choice("norm", "batch", ("layer", "channel_batch"))
    Traceback (most recent call last):
    ValueError: norm must be one of layer, channel_batch, got 'batch'
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_probability(name: str, value: float) -> None:
    """Refuse a probability of dropout outside ``[0, 1)``.

    Raises:
        ValueError: it is no such number.
    """
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
