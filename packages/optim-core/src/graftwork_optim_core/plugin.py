"""What this package registers: names and import paths, no torch."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Component, Extra, Kind, hookimpl

HOSTS = "optimizer-host"
TRANSFORMS = "gradient-transform"
_GWT, _GALORE, _GOLORE = "arXiv:2501.07237", "arXiv:2403.03507", "arXiv:2410.11289"
_LOZO, _MEZO, _NSGDC = "arXiv:2410.07698", "arXiv:2305.17333", "arXiv:2410.16561"
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
    yield Component(
        Kind.REPRODUCTION,
        "gwt",
        f"{_PACKAGE}.reproductions.gwt:reproduce",
        "GWT's optimizer-state sizes for LLaMA 60M to 7B, and two steps by hand",
        _GWT,
        (PICTURE,),
    )
    yield Component(
        Kind.REPRODUCTION,
        "golore",
        f"{_PACKAGE}.reproductions.golore:reproduce",
        "a problem on which GaLore stalls and GoLore does not",
        _GOLORE,
        (PICTURE,),
    )
    yield Component(
        Kind.REPRODUCTION,
        "lozo",
        f"{_PACKAGE}.reproductions.lozo:reproduce",
        "a pretrained encoder fine-tuned with forward passes alone, and with gradients",
        _LOZO,
        (Extra("graftwork-text", ("graftwork_text",)), LORA, PICTURE),
    )
    yield Component(
        Kind.REPRODUCTION,
        "nsgdc",
        f"{_PACKAGE}.reproductions.nsgdc:reproduce",
        "normalized, clipped and plain SGD under noise of infinite variance",
        _NSGDC,
        (Extra("graftwork-text", ("graftwork_text",), "language_model = true"), PICTURE),
    )


def _optimizers() -> Iterator[Component]:
    yield Component(Kind.OPTIMIZER, "adamw", "torch.optim:AdamW", "torch's AdamW", "arXiv:1711.05101")
    yield Component(
        Kind.OPTIMIZER, "sgd", "torch.optim:SGD", "torch's stochastic gradient descent, with momentum"
    )
    for name, target, summary, paper in (
        ("subspace", "subspace.optimizer:SubspaceOptimizer", "any host in the space of any transform", None),
        (
            "gwt-adamw",
            "gwt:GWTAdamW",
            "AdamW whose moments live in the low band of a wavelet transform",
            _GWT,
        ),
        ("gwt-muon", "gwt:GWTMuon", "Muon whose momentum lives in the low band of a wavelet transform", _GWT),
        (
            "galore-adamw",
            "galore:GaLoreAdamW",
            "AdamW in the gradient's leading singular directions",
            _GALORE,
        ),
        (
            "galore-adamw8bit",
            "galore:GaLoreAdamW8bit",
            "AdamW with 8-bit moments in the gradient's leading singular directions",
            _GALORE,
        ),
        (
            "galore-adafactor",
            "galore:GaLoreAdafactor",
            "Adafactor in the gradient's leading singular directions",
            _GALORE,
        ),
        ("golore-adamw", "golore:GoLoreAdamW", "GaLore whose last bases are random, with AdamW", _GOLORE),
        (
            "golore-msgd",
            "golore:GoLoreMSGD",
            "GaLore whose last bases are random, with momentum SGD",
            _GOLORE,
        ),
        ("lozo", "lozo:LOZO", "forward passes only, along low-rank directions", _LOZO),
        ("lozo-m", "lozo:LOZOM", "LOZO with momentum of the left factors", _LOZO),
        ("mezo", "mezo:MeZO", "forward passes only, along directions of full rank", _MEZO),
        (
            "nsgdc",
            "normalized.nsgdc:NSGDC",
            "momentum SGD whose moves have one length, clipped or not",
            _NSGDC,
        ),
        (
            "nsgdc-vr",
            "normalized.variance_reduced:NSGDCVR",
            "the same with recursive momentum: two gradients of one sample a step",
            _NSGDC,
        ),
        (
            "a-nsgdc",
            "normalized.accelerated:ANSGDC",
            "the same with gradients taken ahead of the weights",
            _NSGDC,
        ),
    ):
        yield Component(Kind.OPTIMIZER, name, f"{_PACKAGE}.{target}", summary, paper)


def _hosts() -> Iterator[Component]:
    for name, target, summary, paper in (
        ("adamw", "adamw:AdamWHost", "Adam's two averages", "arXiv:1412.6980"),
        ("msgd", "msgd:MSGDHost", "momentum of stochastic gradient descent", None),
        (
            "adam8bit",
            "adam8bit:Adam8bitHost",
            "Adam's averages in blocks of 8-bit numbers",
            "arXiv:2110.02861",
        ),
        ("adafactor", "adafactor:AdafactorHost", "mean squares as rows times columns", "arXiv:1804.04235"),
        ("muon", "muon:MuonHost", "momentum made orthogonal", "https://kellerjordan.github.io/posts/muon"),
        ("adam-mini", "adam_mini:AdamMiniHost", "one mean square a row", "arXiv:2406.16793"),
    ):
        yield Component(HOSTS, name, f"{_PACKAGE}.hosts.{target}", summary, paper)


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
        (
            "rsvd",
            "lowrank.methods:RandomizedSVDTransform",
            "nearly the same by a random sketch",
            "arXiv:0909.4061",
        ),
        ("power", "lowrank.methods:PowerTransform", "one power step from the previous basis", _GALORE),
        ("random", "lowrank.methods:RandomTransform", "a uniformly random subspace", _GOLORE),
        ("golore", "lowrank.methods:GoLoreTransform", "singular vectors first, random ones at last", _GOLORE),
    ):
        yield Component(TRANSFORMS, name, f"{_PACKAGE}.{target}", summary, paper)
