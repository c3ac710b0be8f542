"""Sequence mixers under one contract, for any torch model: S3Attention and six others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.lazy import lazy_names

if TYPE_CHECKING:
    from graftwork_attention.capabilities import Capabilities
    from graftwork_attention.mixer import Mixer

__all__ = ["Mixer", "Capabilities"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Capabilities": "capabilities",
        "Mixer": "mixer",
    },
)
