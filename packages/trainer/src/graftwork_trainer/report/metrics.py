"""What the name of a metric tells: whether lower or higher is better, and how to write it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Direction = Literal["lower", "higher"]

_LOWER = frozenset({"loss", "perplexity", "error", "seconds", "bytes", "nll", "mse", "mae", "rmse"})
_HIGHER = frozenset(
    {"accuracy", "f1", "auc", "auroc", "precision", "recall", "map", "psnr", "ssim", "plcc", "srcc", "bleu"}
)
_GROUPS = ("test", "validation")
_TELLING_FIRST = ("perplexity", *sorted(_HIGHER), "error", "bits per byte", "loss")


def direction(metric: str) -> Direction | None:
    """Which way is better, or None where the name does not tell.

    >>> direction("test/bits_per_byte"), direction("test/top1_accuracy"), direction("train/gradient_norm")
    ('lower', 'higher', None)
    """
    name = metric.rpartition("/")[2]
    words = set(name.split("_"))
    if name.endswith("_per_second") or words & _HIGHER:
        return "higher"
    if name == "bits_per_byte" or words & _LOWER:
        return "lower"
    return None


def title(metric: str) -> str:
    """The metric's name for a reader, without its group.

    >>> title("validation/bits_per_byte")
    'bits per byte'
    """
    return metric.rpartition("/")[2].replace("_", " ")


def group(metric: str) -> str:
    """What stands before the slash, ``validation`` for instance."""
    return metric.rpartition("/")[0]


def full_title(metric: str) -> str:
    """Group and name for a heading.

    >>> full_title("train/loss")
    'training loss'
    """
    of_group = {"train": "training"}.get(group(metric), group(metric))
    return f"{of_group} {title(metric)}".strip()


def spoken(metric: str) -> str:
    """The metric inside a sentence: a bare ``loss`` needs its group, a perplexity does not.

    >>> spoken("validation/loss"), spoken("validation/perplexity")
    ('validation loss', 'perplexity')
    """
    needs_group = title(metric) in {"loss", "error"} or group(metric) == "train"
    return full_title(metric) if needs_group else title(metric)


def most_telling_first(metrics: Iterable[str]) -> list[str]:
    """Order metrics for a reader: unseen data before training data, perplexity before its logarithm."""

    def rank(metric: str) -> tuple[int, int, str]:
        name, of_group = title(metric), group(metric)
        by_group = _GROUPS.index(of_group) if of_group in _GROUPS else (9 if of_group == "train" else 5)
        matching = [i for i, known in enumerate(_TELLING_FIRST) if known == name or known in name.split()]
        return by_group, min(matching, default=len(_TELLING_FIRST)), metric

    return sorted(set(metrics), key=rank)
