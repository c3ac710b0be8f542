"""A number that was sampled, with the standard error of its mean."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean of independent samples.

    Args:
        value: the mean.
        standard_error: of the mean; NaN of a single sample.
    """

    value: float
    standard_error: float

    @classmethod
    def of(cls, samples: Tensor) -> Estimate:
        """Return mean and standard error of samples ``[count]``.

        Raises:
            ValueError: there are none.

        >>> import torch
        >>> Estimate.of(torch.tensor([1.0, 3.0]))
        Estimate(value=2.0, standard_error=1.0)
        """
        if samples.ndim != 1 or len(samples) == 0:
            raise ValueError(f"samples must be a vector of one or more, got shape {tuple(samples.shape)}")
        samples = samples.double()
        error = float(samples.std() / len(samples) ** 0.5) if len(samples) > 1 else float("nan")
        return cls(float(samples.mean()), error)
