"""What this package registers: names and import paths, no torch."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Component, Kind, hookimpl


@hookimpl
def graftwork_components() -> Iterator[Component]:
    """Yield the optimizers and the reproduction."""
    yield Component(Kind.OPTIMIZER, "adamw", "torch.optim:AdamW", "torch's AdamW", "arXiv:1711.05101")
    yield Component(
        Kind.OPTIMIZER, "sgd", "torch.optim:SGD", "torch's stochastic gradient descent, with momentum"
    )
    yield Component(
        Kind.OPTIMIZER,
        "gwt-adamw",
        "graftwork_optim_core.gwt:GWTAdamW",
        "AdamW whose moments live in the low band of a Haar transform",
        "arXiv:2501.07237",
    )
    yield Component(
        Kind.REPRODUCTION,
        "gwt",
        "graftwork_optim_core.reproductions.gwt:reproduce",
        "GWT's optimizer-state sizes for LLaMA 60M to 7B, and two steps by hand",
        "arXiv:2501.07237",
    )
