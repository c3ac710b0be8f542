"""Sequence mixers under one contract, for any torch model: S3Attention and six others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.lazy import lazy_names

if TYPE_CHECKING:
    from graftwork_attention.capabilities import Capabilities
    from graftwork_attention.mixer import Mixer
    from graftwork_attention.s3.attention import S3Attention
    from graftwork_attention.s3.skeleton import SkeletonAttention
    from graftwork_attention.s3.smoother import Smoother

__all__ = ["S3Attention", "Smoother", "SkeletonAttention", "Mixer", "Capabilities"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Capabilities": "capabilities",
        "Mixer": "mixer",
        "S3Attention": "s3.attention",
        "SkeletonAttention": "s3.skeleton",
        "Smoother": "s3.smoother",
    },
)
