"""Every parameter as a matrix."""

from __future__ import annotations

from torch import Tensor


def matrix_shape(tensor: Tensor) -> tuple[int, int]:
    """Return ``[shape[0], everything else]``, or one row where there are fewer than two dimensions.

    >>> import torch
    >>> matrix_shape(torch.zeros(64, 3, 3, 3)), matrix_shape(torch.zeros(5)), matrix_shape(torch.zeros(()))
    ((64, 27), (1, 5), (1, 1))
    """
    return (1, tensor.numel()) if tensor.ndim < 2 else (tensor.shape[0], tensor.shape[1:].numel())
