"""MeZO: zeroth-order fine-tuning along directions of the weights' own shape.

Source: Malladi et al., "Fine-Tuning Language Models with Just Forward Passes", NeurIPS 2023,
    arXiv:2305.17333. In
each step ``z ~ N(0, I)``, ``c = (F(X + eps z) - F(X - eps z)) / (2 eps)`` and ``X <- X - lr c z``. The step
stands in :mod:`graftwork_optim_core.zeroth_order.optimizer`; z is drawn anew, piece by piece, whenever it is
needed, so that nothing as large as a weight is held.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.zeroth_order.optimizer import DataParallel, ZerothOrderOptimizer


class MeZO(ZerothOrderOptimizer):
    """Zeroth-order descent along Gaussian directions.

    The closure: see :class:`~graftwork_optim_core.zeroth_order.optimizer.ZerothOrderOptimizer`. Weights are
    perturbed in place.

    Args:
        params: parameters, named parameters or groups of either. Random numbers follow the names.
        lr: learning rate, 0 or more.
        eps: how far the weights are perturbed, greater than 0. Published: 1e-3; 1e-2 for LoRA, 1e-1 for
            prefixes.
        momentum: decay of the average of ``c z``, in [0, 1); anything but 0 keeps as much as the weights.
        weight_decay: decoupled decay per unit of lr, 0 or more.
        probes: directions a step, whose estimates are averaged.
        seed: of all random numbers.
        maximize: climb instead of descend.
        data_parallel: "none", "average" (one number a step is exchanged) or "probes" (one direction a
            process).
        check_every: steps between checks that all processes hold the same weights; 0 never checks.
        log_file: where to append the slopes of every step, from which the run can be replayed.

    Raises:
        ValueError: an option is out of its range, or a weight cannot be perturbed.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.ones(4))
    >>> optimizer = MeZO([weight], lr=1e-2)
    >>> for _ in range(100):
    ...     loss = optimizer.step(lambda: weight.square().sum())
    >>> bool(loss < 2)
    True
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-6,
        *,
        eps: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        probes: int = 1,
        seed: int = 0,
        maximize: bool = False,
        data_parallel: DataParallel | None = None,
        check_every: int = 0,
        log_file: Path | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            rank=0,
            eps=eps,
            momentum=momentum,
            weight_decay=weight_decay,
            probes=probes,
            backend="inplace",
            seed=seed,
            maximize=maximize,
            data_parallel=data_parallel,
            check_every=check_every,
            log_file=log_file,
        )
