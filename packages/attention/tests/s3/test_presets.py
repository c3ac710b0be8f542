"""What the presets are, as they are published, and that options go over them."""

from __future__ import annotations

import pytest

from graftwork_attention import S3Attention
from graftwork_attention.s3.presets import PRESETS, settings_of


@pytest.mark.parametrize(
    ("preset", "segments", "taps", "axis", "bias", "landmarks", "scale", "activation"),
    [
        ("robust", 8, 3, "layer", True, "relative", "valid", "relu"),
        ("paper", 8, 3, "position", True, "fixed", "max", "relu"),
        ("reference-lra", 64, 1, "position", True, "fixed", "max", "elu"),
        ("reference-forecast", 8, 3, "position", False, "fixed", "max", "elu"),
    ],
)
def test_each_preset_is_what_its_source_has(
    preset: str, segments: int, taps: int, axis: str, bias: bool, landmarks: str, scale: str, activation: str
) -> None:
    made = S3Attention(64, 2, 32, preset=preset)
    assert made.smoother.fourier.segments == segments
    assert made.smoother.stem.convolution.kernel_size == (taps,)
    assert made.smoother.stem.norm.axis == axis
    assert made.smoother.stem.activation == activation
    assert (made.skeleton.query.bias is not None) == bias
    assert ("skeleton.output.weight" in made.state_dict()) == (preset != "reference-forecast")
    assert (made.skeleton.landmarks, made.skeleton.channel_scale) == (landmarks, scale)


def test_reference_kernels_are_uniform_and_the_paper_s_normal() -> None:
    assert {name: settings.kernel_init.partition("-")[2] for name, settings in PRESETS.items()} == {
        "robust": "normal",
        "paper": "normal",
        "reference-lra": "uniform",
        "reference-forecast": "uniform",
    }


def test_an_option_goes_over_the_preset_and_an_unknown_one_is_refused() -> None:
    assert settings_of("paper", norm="layer", qkv_bias=False, segments=None).norm == "layer"
    assert settings_of("paper", qkv_bias=False).qkv_bias is False
    with pytest.raises(ValueError, match=r"preset must be one of robust, paper, .*got 'best'"):
        settings_of("best")
