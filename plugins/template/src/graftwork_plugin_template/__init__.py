"""The Lion optimizer, for Graftwork's recipes and for any torch training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graftwork_plugin_template.lion import Lion

__all__ = ["Lion"]


def __getattr__(name: str) -> object:
    # Resolved on first use: loading the plugin imports this package, and must not cost the import of torch.
    if name != "Lion":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from graftwork_plugin_template.lion import Lion

    return Lion
