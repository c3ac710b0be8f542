"""What this package registers: names and import paths, no torch."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Component, Extra, Kind, hookimpl

HOSTS = "optimizer-host"
TRANSFORMS = "gradient-transform"
_GWT, _GALORE, _GOLORE = "arXiv:2501.07237", "arXiv:2403.03507", "arXiv:2410.11289"
_LOZO, _MEZO, _NSGDC = "arXiv:2410.07698", "arXiv:2305.17333", "arXiv:2410.16561"
_BLOCKWISE, _SKETCH = "arXiv:2110.02861", "arXiv:0909.4061"
_PACKAGE = "graftwork_optim_core"
PICTURE = Extra("matplotlib", ("matplotlib",), "its picture")
LORA = Extra("graftwork-text[lora]", ("peft",), "the row of LoRA")


@hookimpl
def graftwork_kinds() -> Iterator[Kind]:
    """Yield the two halves of a subspace optimizer."""
    yield Kind(
        HOSTS,
        "target(**options) -> UpdateHost (graftwork_optim_core.subspace.host): keeps averages of coarse "
        "gradients and says where to go.",
        attributes=("slots", "accumulate", "direction"),
    )
    yield Kind(
        TRANSFORMS,
        "target(**options) -> GradientTransform (graftwork_optim_core.subspace.transform): maps gradients to "
        "a smaller space and directions back.",
        attributes=("coarse_shape", "compress", "expand"),
    )


@hookimpl
def graftwork_components() -> Iterator[Component]:
    """Yield the optimizers, their hosts and transforms, and the reproductions."""
    yield from _optimizers()
    yield from _hosts()
    yield from _transforms()
    yield from _reproductions()


def _optimizers() -> Iterator[Component]:
    yield Component(Kind.OPTIMIZER, "adamw", "torch.optim:AdamW", "torch's AdamW", "arXiv:1711.05101")
    yield Component(
        Kind.OPTIMIZER, "sgd", "torch.optim:SGD", "torch's stochastic gradient descent, with momentum"
    )
    subspace = "subspace.optimizer:SubspaceOptimizer"
    yield _component(Kind.OPTIMIZER, "subspace", subspace, "any host in the space of any transform")
    band = "in the low band of a wavelet transform"
    directions = "in the gradient's leading singular directions"
    late = "GaLore whose last bases are random, with"
    for name, target, summary, paper in (
        ("gwt-adamw", "gwt:GWTAdamW", f"AdamW whose moments live {band}", _GWT),
        ("two-rate-adamw", "two_rates:TwoRateAdamW", "AdamW under the two rates of GWT and GaLore", None),
        ("gwt-muon", "gwt:GWTMuon", f"Muon whose momentum lives {band}", _GWT),
        ("galore-adamw", "galore:GaLoreAdamW", f"AdamW {directions}", _GALORE),
        ("galore-adamw8bit", "galore:GaLoreAdamW8bit", f"AdamW with 8-bit moments {directions}", _GALORE),
        ("galore-adafactor", "galore:GaLoreAdafactor", f"Adafactor {directions}", _GALORE),
        ("golore-adamw", "golore:GoLoreAdamW", f"{late} AdamW", _GOLORE),
        ("golore-msgd", "golore:GoLoreMSGD", f"{late} momentum SGD", _GOLORE),
        ("lozo", "lozo:LOZO", "forward passes only, along low-rank directions", _LOZO),
        ("lozo-m", "lozo:LOZOM", "LOZO with momentum of the left factors", _LOZO),
        ("mezo", "mezo:MeZO", "forward passes only, along directions of full rank", _MEZO),
    ):
        yield _component(Kind.OPTIMIZER, name, target, summary, paper)
    for name, target, summary in (
        ("nsgdc", "nsgdc:NSGDC", "momentum SGD whose moves have one length, clipped or not"),
        (
            "nsgdc-vr",
            "variance_reduced:NSGDCVR",
            "the same with recursive momentum: two gradients of one sample a step",
        ),
        ("a-nsgdc", "accelerated:ANSGDC", "the same with gradients taken ahead of the weights"),
    ):
        yield _component(Kind.OPTIMIZER, name, f"normalized.{target}", summary, _NSGDC)


def _hosts() -> Iterator[Component]:
    for name, target, summary, paper in (
        ("adamw", "adamw:AdamWHost", "Adam's two averages", "arXiv:1412.6980"),
        ("msgd", "msgd:MSGDHost", "momentum of stochastic gradient descent", None),
        ("adam8bit", "adam8bit:Adam8bitHost", "Adam's averages in blocks of 8-bit numbers", _BLOCKWISE),
        ("adafactor", "adafactor:AdafactorHost", "mean squares as rows times columns", "arXiv:1804.04235"),
        ("muon", "muon:MuonHost", "momentum made orthogonal", "https://kellerjordan.github.io/posts/muon"),
        ("adam-mini", "adam_mini:AdamMiniHost", "one mean square a row", "arXiv:2406.16793"),
    ):
        yield _component(HOSTS, name, f"hosts.{target}", summary, paper)


def _transforms() -> Iterator[Component]:
    for name, target, summary, paper in (
        ("identity", "subspace.identity:IdentityTransform", "the gradient itself", None),
        (
            "wavelet",
            "wavelet.transform:WaveletTransform",
            "low band of a wavelet transform of each row",
            _GWT,
        ),
        ("svd", "lowrank.methods:SVDTransform", "leading singular vectors, by a full SVD", _GALORE),
        ("gram", "lowrank.methods:GramTransform", "the same by the smaller Gram matrix", _GALORE),
        ("rsvd", "lowrank.methods:RandomizedSVDTransform", "nearly the same by a random sketch", _SKETCH),
        ("power", "lowrank.methods:PowerTransform", "one power step from the previous basis", _GALORE),
        ("random", "lowrank.methods:RandomTransform", "a uniformly random subspace", _GOLORE),
        ("golore", "lowrank.methods:GoLoreTransform", "singular vectors first, random ones at last", _GOLORE),
    ):
        yield _component(TRANSFORMS, name, target, summary, paper)


def _reproductions() -> Iterator[Component]:
    text = ("graftwork-text", ("graftwork_text",))
    nothing: tuple[Extra, ...] = ()
    for name, summary, paper, extras in (
        ("gwt", "GWT's optimizer-state sizes for LLaMA 60M to 7B, and two steps by hand", _GWT, nothing),
        ("golore", "a problem on which GaLore stalls and GoLore does not", _GOLORE, nothing),
        (
            "lozo",
            "a pretrained encoder fine-tuned with forward passes alone, and with gradients",
            _LOZO,
            (Extra(*text), LORA),
        ),
        (
            "nsgdc",
            "normalized, clipped and plain SGD under noise of infinite variance",
            _NSGDC,
            (Extra(*text, "language_model = true"),),
        ),
    ):
        target = f"reproductions.{name}:reproduce"
        yield _component(Kind.REPRODUCTION, name, target, summary, paper, (*extras, PICTURE))


def _component(
    kind: str, name: str, target: str, summary: str, paper: str | None = None, extras: tuple[Extra, ...] = ()
) -> Component:
    return Component(kind, name, f"{_PACKAGE}.{target}", summary, paper, extras)
