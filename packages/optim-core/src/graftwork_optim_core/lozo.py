"""LOZO and LOZO-M: zeroth-order fine-tuning along low-rank directions.

Source: Chen, Zhang, Cao, Yuan, Wen, "Enhancing Zeroth-order Fine-tuning for Language Models with Low-rank
Structures", ICLR 2025, arXiv:2410.07698. The step stands in
:mod:`graftwork_optim_core.zeroth_order.optimizer`; ``U [rows, rank]`` is new every step, ``V [columns,
rank]`` every ``interval`` steps.

Against the published code: updates are divided by the rank, as in the paper (``scale="reference"`` is the
code's, so that ``lr`` there is ``lr / rank`` here); the direction of the update is always that of the
perturbation, also in the steps in which V changes; LOZO-M's momentum is carried over with ``interval=1`` too.

The second moment of the estimate is that of MeZO: low rank makes the perturbation and the momentum cheap, it
does not make a step less noisy. While V stays, the loss falls no further than its subspace allows, so that
small ranks want small learning rates or short intervals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.zeroth_order.optimizer import Backend, DataParallel, ZerothOrderOptimizer


class LOZO(ZerothOrderOptimizer):
    """Zeroth-order descent along directions ``U V^T``.

    The closure, the backends and what they ask of the caller: see
    :class:`~graftwork_optim_core.zeroth_order.optimizer.ZerothOrderOptimizer`.

    Args:
        params: parameters, named parameters or groups of either. Random numbers follow the names.
        lr: learning rate in the paper's units, 0 or more; published code divides by ``rank``: its 1e-6 is
            2e-6 here at rank 2.
        rank: columns of U and V, 1 or more. Published: 1 or 2 for OPT, 4 for RoBERTa.
        interval: steps between two V, 1 or more. Published: 50 or 100.
        eps: how far the weights are perturbed, greater than 0. Published: 1e-3.
        momentum: decay of the average of ``c U``, in [0, 1); 0 keeps none.
        weight_decay: decoupled decay per unit of lr, 0 or more.
        scale: "paper" divides updates of matrices by the rank, "reference" does not.
        probes: directions a step, whose estimates are averaged.
        backend: "inplace", "sidepath", "dual", or "auto" for whichever suits the model.
        seed: of all random numbers.
        accumulate_dtype: least precision of movement and momentum, float32 or float64.
        additive: never write the weights; for quantized ones.
        maximize: climb instead of descend.
        stochastic_rounding: of movement that is written into bfloat16 matrices.
        data_parallel: "none", "average" (one number a step is exchanged) or "probes" (one direction a
            process).
        check_every: steps between checks that all processes hold the same weights; 0 never checks.
        log_file: where to append the slopes of every step, from which the run can be replayed.

    Raises:
        ValueError: an option is out of its range, or a weight cannot be perturbed.

    >>> import torch
    >>> layer = torch.nn.Linear(24, 16)
    >>> optimizer = LOZO(layer.named_parameters(), lr=1e-2, rank=2, interval=10)
    >>> inputs, targets = torch.randn(8, 24), torch.randn(8, 16)
    >>> losses = [float(optimizer.step(lambda: (layer(inputs) - targets).square().mean())) for _ in range(40)]
    >>> losses[-1] < losses[0]
    True
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-6,
        *,
        rank: int = 2,
        interval: int = 50,
        eps: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        scale: Literal["paper", "reference"] = "paper",
        probes: int = 1,
        backend: Backend = "auto",
        seed: int = 0,
        accumulate_dtype: Literal["float32", "float64"] = "float32",
        additive: bool = False,
        maximize: bool = False,
        stochastic_rounding: bool = True,
        data_parallel: DataParallel | None = None,
        check_every: int = 0,
        log_file: Path | None = None,
    ) -> None:
        if rank < 1:
            raise ValueError(f"rank must be 1 or more, got {rank}; MeZO has directions of full rank")
        super().__init__(
            params,
            lr,
            rank=rank,
            interval=interval,
            eps=eps,
            momentum=momentum,
            weight_decay=weight_decay,
            scale=scale,
            probes=probes,
            backend=backend,
            seed=seed,
            accumulate_dtype=accumulate_dtype,
            additive=additive,
            maximize=maximize,
            stochastic_rounding=stochastic_rounding,
            data_parallel=data_parallel,
            check_every=check_every,
            log_file=log_file,
        )


class LOZOM(LOZO):
    """LOZO whose left factors are averaged over steps: a momentum of ``rows * rank`` numbers a matrix.

    Args:
        params: as in :class:`LOZO`, like all that follows.
        lr: learning rate in the paper's units.
        rank: columns of U and V.
        interval: steps between two V; the momentum is carried over into the new one.
        eps: how far the weights are perturbed.
        momentum: beta, in [0, 1).
        weight_decay: decoupled decay per unit of lr.
        scale: "paper" or "reference".
        probes: directions a step.
        backend: "inplace", "sidepath", "dual" or "auto".
        seed: of all random numbers.
        accumulate_dtype: least precision of movement and momentum.
        additive: never write the weights.
        maximize: climb instead of descend.
        stochastic_rounding: of movement that is written into bfloat16 matrices.
        data_parallel: "none", "average" or "probes".
        check_every: steps between checks that all processes hold the same weights.
        log_file: where to append the slopes of every step.

    Raises:
        ValueError: an option is out of its range, or a weight cannot be perturbed.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.zeros(64, 32))
    >>> optimizer = LOZOM([weight], lr=1e-2, rank=2)
    >>> optimizer.state[weight]["momentum"].shape
    torch.Size([64, 2])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-6,
        *,
        rank: int = 2,
        interval: int = 50,
        eps: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        scale: Literal["paper", "reference"] = "paper",
        probes: int = 1,
        backend: Backend = "auto",
        seed: int = 0,
        accumulate_dtype: Literal["float32", "float64"] = "float32",
        additive: bool = False,
        maximize: bool = False,
        stochastic_rounding: bool = True,
        data_parallel: DataParallel | None = None,
        check_every: int = 0,
        log_file: Path | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            rank=rank,
            interval=interval,
            eps=eps,
            momentum=momentum,
            weight_decay=weight_decay,
            scale=scale,
            probes=probes,
            backend=backend,
            seed=seed,
            accumulate_dtype=accumulate_dtype,
            additive=additive,
            maximize=maximize,
            stochastic_rounding=stochastic_rounding,
            data_parallel=data_parallel,
            check_every=check_every,
            log_file=log_file,
        )
