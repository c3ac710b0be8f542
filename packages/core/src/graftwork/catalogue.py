"""Which of Graftwork's own packages brings a component or a command, for those who have not installed it.

Names alone: nothing here is needed by what is installed.
"""

from __future__ import annotations

from collections.abc import Mapping

COMMAND = "command"

# A test of all packages together compares it with what they register.
BROUGHT_BY: Mapping[str, Mapping[str, str]] = {
    "graftwork-trainer": {
        "command": "compare evaluate export predict report reproduce train verify",
        "tracker": "jsonl tensorboard",
        "trainer": "standard",
    },
    "graftwork-text": {
        "corpus": "bbc-news bbc-topics installed-prose installed-questions news-articles rotten-tomatoes "
        "wikipedia-excerpt",
        "model": "llama-130m llama-1b llama-350m llama-3b llama-60m llama-7b llama-tiny pretrained "
        "pretrained-lm",
        "recipe": "lm-continue lm-pretrain prompt-answering sequence-classification zeroth-order-finetune",
        "task": "lm-pretrain prompt-answering prompt-classification sequence-classification",
        "weights": "minilm smollm2-135m",
    },
    "graftwork-optim-core": {
        "gradient-transform": "golore gram identity power random rsvd svd wavelet",
        "optimizer": "a-nsgdc adamw galore-adafactor galore-adamw galore-adamw8bit golore-adamw golore-msgd "
        "gwt-adamw gwt-muon lozo lozo-m mezo nsgdc nsgdc-vr sgd subspace two-rate-adamw",
        "optimizer-host": "adafactor adam-mini adam8bit adamw msgd muon",
        "reproduction": "golore gwt lozo nsgdc",
    },
    "graftwork-decentral": {
        "bilevel-method": "centralized d-soba ma-dsbo-gt mdbo sldbo sparkle",
        "command": "flatness-study",
        "communicator": "distributed stacked",
        "faults": "standard",
        "model": "mlp resnet18",
        "recipe": "cifar10-decentralized hyper-cleaning hyper-cleaning-fashion-mnist meta-learning "
        "policy-evaluation",
        "reproduction": "flatness sparkle",
        "strategy": "consensus diffusion exact-diffusion extra gt-atc gt-non-atc gt-semi-atc",
        "study": "flatness",
        "task": "hyper-cleaning image-classification meta-learning policy-evaluation",
        "topology": "edges erdos-renyi full hypercube one-peer-exponential path ring star static-exponential "
        "torus",
        "trainer": "bilevel decentralized",
    },
    "graftwork-attention": {
        "attention": "fnet linformer nystrom performer s3 s4d sdpa",
        "attention-conversion": "graftwork-attention timm transformers",
        "command": "attention",
        "model": "pixel-encoder timm-vit",
        "recipe": "pixels",
        "reproduction": "attention-conversion",
        "task": "pixels",
        "weights": "vit-s-focus",
    },
}


# Folders of those that need the trainer, without which they cannot be installed from a clone.
_ON_THE_TRAINER = ("graftwork-text", "graftwork-decentral", "graftwork-attention")


def installing(package: str) -> str:
    """How one of Graftwork's own packages is installed from a clone, beside those that it needs.

    >>> installing("graftwork-text")
    'in a clone of Graftwork: pip install ./packages/core ./packages/trainer ./packages/text'
    """
    names = ["core", *(["trainer"] if package in _ON_THE_TRAINER else []), package.removeprefix("graftwork-")]
    return f"in a clone of Graftwork: pip install {' '.join(f'./packages/{name}' for name in names)}"


def package_of(kind: str, name: str) -> str | None:
    """The distribution that brings a name, or None.

    Args:
        kind: of the component, or ``command``.
        name: short, as it is registered.

    >>> package_of("optimizer", "adamw"), package_of("command", "train"), package_of("optimizer", "zebra")
    ('graftwork-optim-core', 'graftwork-trainer', None)
    """
    return next(
        (package for package, kinds in BROUGHT_BY.items() if name in kinds.get(kind, "").split()), None
    )


def short_name(name: str) -> str:
    """A name without its plugin where that is the package of ours that brings it.

    >>> short_name("optim-core:adamw"), short_name("rival:adamw"), short_name("decentral:adamw")
    ('adamw', 'rival:adamw', 'decentral:adamw')
    """
    plugin, colon, bare = name.rpartition(":")
    brought = BROUGHT_BY.get(f"graftwork-{plugin.rpartition('/')[2]}", {})
    ours = any(bare in names.split() for kind, names in brought.items() if kind != COMMAND)
    return bare if colon and ours else name


def kinds_with(name: str) -> list[str]:
    """The kinds of which Graftwork's packages bring a component of that name."""
    return [
        kind
        for kinds in BROUGHT_BY.values()
        for kind, names in kinds.items()
        if kind != COMMAND and name in names.split()
    ]


def package_with(kind: str) -> str | None:
    """The first distribution that brings any component of a kind, or None."""
    return next((package for package, kinds in BROUGHT_BY.items() if kind in kinds), None)
