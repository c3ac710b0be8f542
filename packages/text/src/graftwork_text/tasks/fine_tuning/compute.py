"""What time and memory of a fine-tuning depend on, as options."""

from __future__ import annotations

from dataclasses import dataclass

from graftwork_text.models.pretrained import Precision


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """Precision of the weights, and how much goes into a batch.

    Args:
        dtype: of the weights.
        max_length: tokens of a sequence at most; a longer prompt loses its start, a longer text its end.
        batch_size: examples in a batch of one process.
        evaluation_batch_size: examples in a batch of an evaluation.

    Raises:
        ValueError: an option is out of its range.
    """

    dtype: Precision = "float32"
    max_length: int = 256
    batch_size: int = 16
    evaluation_batch_size: int = 64

    def __post_init__(self) -> None:
        for option, least in {"max_length": 8, "batch_size": 1, "evaluation_batch_size": 1}.items():
            value = getattr(self, option)
            if value < least:
                raise ValueError(f"{option} must be at least {least}, got {value}")
