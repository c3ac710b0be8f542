"""Gradients, their noise over batches and their spread over agents: what the theory calls R and b."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from graftwork_decentral.flatness.metrics.flat import Objective


def gradient(objective: Objective, point: Tensor) -> Tensor:
    """Return the gradient ``[parameters]`` at a point.

    >>> gradient(lambda w: (w**2).sum(), torch.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """
    point = point.detach().clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(objective(point), point, materialize_grads=True)
    return slope


def gradient_noise_trace(gradients: Iterable[Tensor], *, batch_size: int = 1) -> float:
    """Estimate the trace of the covariance of one sample's gradient from gradients of batches.

    One gradient is held at a time, beside the running mean: an iterator will do.

    Args:
        gradients: two or more, ``[parameters]`` each, of independent batches at one point.
        batch_size: samples in each, by which the covariance of batches is multiplied.

    Returns:
        Tr R, without bias.

    Raises:
        ValueError: there are fewer than two, or ``batch_size`` is below 1.

    >>> gradient_noise_trace([torch.tensor([0.0, 1.0]), torch.tensor([2.0, 1.0])], batch_size=4)
    8.0
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
    mean: Tensor | None = None
    seen, total = 0, 0.0
    for one in gradients:
        seen += 1
        if mean is None:
            mean = one.detach().double()
            continue
        apart = one.detach().double() - mean
        mean = mean + apart / seen
        total += float(apart.square().sum()) * (seen - 1) / seen
    if seen < 2:
        raise ValueError(f"gradients must be of two batches or more, got {seen}")
    return batch_size * total / (seen - 1)


def heterogeneity(gradients: Tensor, *, about_mean: bool = False) -> float:
    """Return the sum over agents of the squared norm of their gradients.

    At a minimum of the mean the gradients sum to zero. Elsewhere ``about_mean`` takes their mean away first,
    so that what is left is how the agents differ.

    Args:
        gradients: ``[agents, parameters]``, of each agent's function at one point.
        about_mean: whether to.

    Raises:
        ValueError: they are no matrix.

    >>> gradients = torch.tensor([[2.0], [0.0]])
    >>> heterogeneity(gradients), heterogeneity(gradients, about_mean=True)
    (4.0, 2.0)
    """
    if gradients.ndim != 2:
        raise ValueError(f"gradients must be [agents, parameters], got {list(gradients.shape)}")
    gradients = gradients.double()
    if about_mean:
        gradients = gradients - gradients.mean(0)
    return float(gradients.square().sum())
