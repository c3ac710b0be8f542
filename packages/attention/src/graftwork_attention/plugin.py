"""What this package registers: names and import paths, no torch."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Command, Component, Kind, hookimpl
from graftwork_attention.extras import DIGITS, PICTURES, TIMM, TRANSFORMERS

_PACKAGE = "graftwork_attention"


@hookimpl
def graftwork_components() -> Iterator[Component]:
    """Yield the mixers, and what puts them into other libraries' models."""
    for name, target, summary, paper in (
        ("sdpa", "mixers.sdpa:SoftmaxAttention", "softmax attention, torch's own", "arXiv:1706.03762"),
        (
            "s3",
            "s3.attention:S3Attention",
            "smoothed tokens, a few of them and few channels",
            "arXiv:2408.08567",
        ),
        ("nystrom", "mixers.nystrom:NystromAttention", "softmax attention by landmarks", "arXiv:2102.03902"),
        (
            "linformer",
            "mixers.linformer:LinformerAttention",
            "learned projection of the sequence",
            "arXiv:2006.04768",
        ),
        (
            "performer",
            "mixers.performer:PerformerAttention",
            "softmax attention by random features",
            "arXiv:2009.14794",
        ),
        ("fnet", "mixers.fnet:FourierMixer", "Fourier transforms, nothing learned", "arXiv:2105.03824"),
        (
            "s4d",
            "mixers.s4d:DiagonalStateSpaceMixer",
            "a diagonal state space in both directions",
            "arXiv:2206.11893",
        ),
    ):
        yield Component(Kind.ATTENTION, name, f"{_PACKAGE}.{target}", summary, paper)
    yield from _trained()
    yield Component(
        Kind.REPRODUCTION,
        "attention-conversion",
        f"{_PACKAGE}.reproductions.attention_conversion:reproduce",
        "what other attention costs pretrained models in accuracy",
        extras=(TRANSFORMERS, TIMM),
    )
    for library, extra, target, models in (
        (
            "transformers",
            TRANSFORMERS,
            "transformers_encoders:convert_encoder",
            "encoders: BERT-, DistilBERT-, ViT-shaped",
        ),
        ("timm", TIMM, "timm_models:convert_vision_transformer", "vision transformers: ViT, DeiT, NaFlexViT"),
    ):
        yield Component(
            Kind.ATTENTION_CONVERSION,
            library,
            f"{_PACKAGE}.conversion.{target}",
            models,
            extras=(extra,),
        )
    yield Component(
        Kind.ATTENTION_CONVERSION,
        "graftwork-attention",
        f"{_PACKAGE}.conversion.encoder_blocks:convert_encoder_blocks",
        "models with this package's encoder blocks in them",
    )


def _trained() -> Iterator[Component]:
    """What a trainer trains."""
    yield Component(
        Kind.TASK,
        "pixels",
        f"{_PACKAGE}.tasks.pixels:PixelClassification",
        "classify small images by models whose attention is chosen",
        "arXiv:2011.04006",
        (DIGITS, PICTURES),
    )
    yield Component(
        Kind.MODEL,
        "pixel-encoder",
        f"{_PACKAGE}.models.pixel_encoder:PixelEncoder",
        "an encoder over images as sequences of pixels",
        "arXiv:2011.04006",
    )
    yield Component(
        Kind.MODEL,
        "timm-vit",
        f"{_PACKAGE}.models.timm_vit:timm_vit",
        "vision transformers of timm, random or pretrained, for images of any size",
        extras=(TIMM,),
    )
    yield Component(
        Kind.WEIGHTS,
        "vit-s-focus",
        f"{_PACKAGE}.weights.vit_s_focus:vit_s_focus",
        "ViT-S/14 in the shape of DINOv2, tuned for saliency, for timm-vit; fetched once (90 MB)",
    )
    yield Component(
        Kind.RECIPE,
        "pixels",
        f"{_PACKAGE}:recipes/pixels.toml",
        "digits as sequences of pixels, by an encoder whose mixer is to be chosen",
    )


@hookimpl
def graftwork_commands() -> Iterator[Command]:
    """Yield what is asked of mixers before one is trained."""
    yield Command(
        "attention",
        "what mixers cost at a length, and whether one keeps the contract",
        f"{_PACKAGE}.commands.attention:AttentionCommand",
    )
