"""Models of transformers and timm with another attention: converted, saved, loaded, restored."""

from __future__ import annotations

from graftwork_attention.conversion.converting import convert, restore
from graftwork_attention.conversion.keeping import load_converted, save_converted

__all__ = ["convert", "restore", "save_converted", "load_converted"]
