"""Sequence mixers under one contract, for any torch model: S3Attention and six others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.lazy import lazy_names

if TYPE_CHECKING:
    from graftwork_attention.adapter import MultiheadAttentionAdapter
    from graftwork_attention.capabilities import Capabilities
    from graftwork_attention.mixer import Mixer
    from graftwork_attention.mixers.fnet import FourierMixer
    from graftwork_attention.mixers.linformer import LinformerAttention
    from graftwork_attention.mixers.nystrom import NystromAttention
    from graftwork_attention.mixers.performer import PerformerAttention
    from graftwork_attention.mixers.s4d import DiagonalStateSpaceMixer
    from graftwork_attention.mixers.sdpa import SoftmaxAttention
    from graftwork_attention.models.encoder_block import EncoderBlock
    from graftwork_attention.models.sequence_classifier import SequenceClassifier
    from graftwork_attention.s3.attention import S3Attention
    from graftwork_attention.s3.skeleton import SkeletonAttention
    from graftwork_attention.s3.smoother import Smoother

__all__ = [
    "SoftmaxAttention",
    "NystromAttention",
    "LinformerAttention",
    "PerformerAttention",
    "FourierMixer",
    "DiagonalStateSpaceMixer",
    "MultiheadAttentionAdapter",
    "EncoderBlock",
    "SequenceClassifier",
    "S3Attention",
    "Smoother",
    "SkeletonAttention",
    "Mixer",
    "Capabilities",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Capabilities": "capabilities",
        "SoftmaxAttention": "mixers.sdpa",
        "NystromAttention": "mixers.nystrom",
        "LinformerAttention": "mixers.linformer",
        "PerformerAttention": "mixers.performer",
        "FourierMixer": "mixers.fnet",
        "DiagonalStateSpaceMixer": "mixers.s4d",
        "MultiheadAttentionAdapter": "adapter",
        "EncoderBlock": "models.encoder_block",
        "SequenceClassifier": "models.sequence_classifier",
        "Mixer": "mixer",
        "S3Attention": "s3.attention",
        "SkeletonAttention": "s3.skeleton",
        "Smoother": "s3.smoother",
    },
)
