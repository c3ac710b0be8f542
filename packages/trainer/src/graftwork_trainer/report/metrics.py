"""How a metric's name is written for a reader; which way it is better is never read off it."""

from __future__ import annotations

from collections.abc import Iterable

# What every loop records of its own accord; the other metrics are a task's.
TRAINING_LOSS = "train/loss"
_GROUPS = ("test", "validation")


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
    """Group and name, for a heading or inside a sentence.

    >>> full_title("train/loss"), full_title("validation/perplexity")
    ('training loss', 'validation perplexity')
    """
    of_group = {"train": "training"}.get(group(metric), group(metric))
    return f"{of_group} {title(metric)}".strip()


def by_group(metrics: Iterable[str]) -> list[str]:
    """Unseen data before training data, and by name.

    >>> by_group(["train/loss", "agents/spread", "validation/loss", "test/loss"])
    ['test/loss', 'validation/loss', 'agents/spread', 'train/loss']
    """

    def rank(metric: str) -> tuple[int, str]:
        of_group = group(metric)
        place = _GROUPS.index(of_group) if of_group in _GROUPS else len(_GROUPS) + (of_group == "train")
        return place, metric

    return sorted(set(metrics), key=rank)
