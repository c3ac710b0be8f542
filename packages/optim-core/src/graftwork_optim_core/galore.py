"""GaLore: an optimizer's averages kept of the gradient's leading singular directions.

Source: Jiawei Zhao, Zhenyu Zhang, Beidi Chen, Zhangyang Wang, Anima Anandkumar, Yuandong Tian, GaLore:
Memory-Efficient LLM Training by Gradient Low-Rank Projection, ICML 2024, arXiv:2403.03507. The projection
stands in :mod:`graftwork_optim_core.lowrank.transform`, the hosts in :mod:`graftwork_optim_core.hosts`, the
order of a step in :mod:`graftwork_optim_core.subspace.optimizer`.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.subspace.optimizer import SubspaceOptimizer

Basis = Literal["svd", "gram", "rsvd", "power"]


class _GaLore(SubspaceOptimizer):
    """What the fronts of GaLore share: the options of the projection, as one table."""

    @staticmethod
    def _projection(
        rank: int, side: str, refresh_every: int, stagger: bool, moments: str, align_signs: bool
    ) -> dict[str, Any]:
        return {
            "rank": rank,
            "side": side,
            "refresh_every": refresh_every,
            "stagger": stagger,
            "moments": moments,
            "align_signs": align_signs,
        }


class GaLoreAdamW(_GaLore):
    """AdamW in the gradient's leading singular directions, refreshed every so many steps.

    Adam's two moments are kept of ``rank`` directions of each weight, and the basis beside them. Give it the
    groups that :func:`~graftwork_optim_core.param_groups` makes: embeddings, head, norms and biases are for
    plain Adam.

    A weight whose gradient holds an inf or a NaN makes no step, and keeps its basis if it was to be
    refreshed.

    Args:
        params: parameters, named parameters or groups of either. A group may set any of the options for
            itself.
        lr: learning rate, 0 or more; a tensor of one element is read at every step. Weights move by ``scale *
            lr``.
        betas: decay of the running mean and of the running mean square, each in [0, 1).
        eps: added to the root before its bias correction, greater than 0.
        weight_decay: decoupled decay per unit of ``lr``, 0 or more, applied after the update.
        rank: directions kept, 1 or more; as published 128 to 1024 for models of 60M to 7B. A weight with no
            more rows or columns than that makes Adam's own step.
        refresh_every: steps between bases, 1 or more.
        scale: multiplies the update of a weight, greater than 0.
        side: "std" projects the shorter axis, as published; "reverse_std" the longer; "left" the rows,
            "right" the columns, "full" both.
        basis: how a basis is found: "svd" as published; "gram" by the eigenvectors of the smaller Gram
            matrix, the same directions several times faster; "rsvd" by a random sketch; "power" by one step
            of power iteration from the previous basis, the fastest.
        stagger: refresh weights at different steps, so that after the first no step pays for all.
        moments: at a refresh "keep" the moments as they are, as published; "project" the first into the new
            basis, which with side "full" and a refresh at every step lets updates grow ten-thousandfold;
            "reset" both.
        align_signs: flip new directions so that each has a non-negative product with the old of its place.
        state_dtype: of moments and basis: "param" for the weight's own, "float32" or "bfloat16".
        stochastic_rounding: round bfloat16 weights at random, so that small updates are kept on average.
        maximize: climb instead of descend.
        foreach: take all plain weights of a group in one batch; none means on accelerators only.

    Raises:
        ValueError: an option is out of its range, a parameter is complex, or columns of a weight lie in
            several processes.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.ModuleDict({"mlp": torch.nn.Linear(16, 8), "head": torch.nn.Linear(8, 1)})
    >>> optimizer = GaLoreAdamW(GaLoreAdamW.select_parameters(model), lr=1e-2, rank=4)
    1 of 4 tensors transformed: 128 of 145 parameters (88.3%)
    >>> model["head"](model["mlp"](torch.randn(2, 16))).square().mean().backward()
    >>> optimizer.step()
    >>> state = optimizer.state[model["mlp"].weight]
    >>> [tuple(state[key].shape) for key in ("exp_avg", "exp_avg_sq", "basis_left")]
    [(4, 16), (4, 16), (8, 4)]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        rank: int = 128,
        refresh_every: int = 200,
        scale: float = 0.25,
        side: Literal["std", "reverse_std", "left", "right", "full"] = "std",
        basis: Basis = "svd",
        stagger: bool = False,
        moments: Literal["keep", "project", "reset"] = "keep",
        align_signs: bool = True,
        state_dtype: Literal["param", "float32", "bfloat16"] = "param",
        stochastic_rounding: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            host="adamw",
            transform=basis,
            host_options={"betas": betas, "eps": eps},
            transform_options=self._projection(rank, side, refresh_every, stagger, moments, align_signs),
            scale=scale,
            weight_decay=weight_decay,
            state_dtype=state_dtype,
            stochastic_rounding=stochastic_rounding,
            maximize=maximize,
            foreach=foreach,
        )


class GaLoreAdamW8bit(_GaLore):
    """GaLore with Adam's moments in blocks of 256 8-bit numbers (arXiv:2110.02861).

    Quantised are the moments of matrices with at least 4096 coarse coefficients, those of plain matrices too.

    Args:
        params: parameters, named parameters or groups of either.
        lr: learning rate, 0 or more; weights move by ``scale * lr``.
        betas: decay of the running mean and of the running mean square, each in [0, 1).
        eps: added to the root before its bias correction, greater than 0.
        weight_decay: decoupled decay per unit of ``lr``, 0 or more, applied after the update.
        rank: directions kept, 1 or more.
        refresh_every: steps between bases, 1 or more; 500 as published for 7B.
        scale: multiplies the update of a weight, greater than 0.
        side: "std", "reverse_std", "left", "right" or "full", see
            :class:`~graftwork_optim_core.GaLoreAdamW`.
        basis: "svd", "gram", "rsvd" or "power".
        stagger: refresh weights at different steps.
        moments: "keep", "project" or "reset" at a refresh.
        align_signs: flip new directions towards the old.
        state_dtype: of the basis and of averages that stay unquantised.
        stochastic_rounding: round bfloat16 weights at random, so that small updates are kept on average.
        maximize: climb instead of descend.
        foreach: take all plain weights of a group in one batch; none means on accelerators only.

    Raises:
        ValueError: an option is out of its range, a parameter is complex, or columns of a weight lie in
            several processes.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.zeros(64, 256))
    >>> GaLoreAdamW8bit([weight], rank=32).state[weight]["exp_avg"].dtype
    torch.uint8
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        rank: int = 128,
        refresh_every: int = 200,
        scale: float = 0.25,
        side: Literal["std", "reverse_std", "left", "right", "full"] = "std",
        basis: Basis = "svd",
        stagger: bool = False,
        moments: Literal["keep", "project", "reset"] = "keep",
        align_signs: bool = True,
        state_dtype: Literal["param", "float32", "bfloat16"] = "param",
        stochastic_rounding: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            host="adam8bit",
            transform=basis,
            host_options={"betas": betas, "eps": eps},
            transform_options=self._projection(rank, side, refresh_every, stagger, moments, align_signs),
            scale=scale,
            weight_decay=weight_decay,
            state_dtype=state_dtype,
            stochastic_rounding=stochastic_rounding,
            maximize=maximize,
            foreach=foreach,
        )


class GaLoreAdafactor(_GaLore):
    """Adafactor (arXiv:1804.04235) in the gradient's leading singular directions.

    Args:
        params: parameters, named parameters or groups of either.
        lr: largest learning rate, 0 or more; torch's Adafactor uses the smaller of it and ``1 / sqrt(t)``,
            times the weight's root mean square.
        weight_decay: decoupled decay per unit of ``lr``, 0 or more, applied after the update.
        beta1: decay of a running mean, in [0, 1); none keeps no mean, which saves its memory.
        rank: directions kept, 1 or more.
        refresh_every: steps between bases, 1 or more.
        scale: multiplies the update of a weight, greater than 0.
        side: "std", "reverse_std", "left", "right" or "full", see
            :class:`~graftwork_optim_core.GaLoreAdamW`.
        basis: "svd", "gram", "rsvd" or "power".
        stagger: refresh weights at different steps.
        moments: "keep", "project" or "reset" at a refresh.
        align_signs: flip new directions towards the old.
        state_dtype: of averages and basis: "param", "float32" or "bfloat16".
        stochastic_rounding: round bfloat16 weights at random, so that small updates are kept on average.
        maximize: climb instead of descend.
        foreach: take all plain weights of a group in one batch; none means on accelerators only.

    Raises:
        ValueError: an option is out of its range, a parameter is complex, or columns of a weight lie in
            several processes.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.zeros(64, 256))
    >>> sorted(GaLoreAdafactor([weight], rank=32).state[weight])
    ['basis_left', 'calls', 'col_var', 'refreshes', 'row_var', 'step']
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        weight_decay: float = 0.0,
        *,
        beta1: float | None = None,
        rank: int = 128,
        refresh_every: int = 200,
        scale: float = 0.25,
        side: Literal["std", "reverse_std", "left", "right", "full"] = "std",
        basis: Basis = "svd",
        stagger: bool = False,
        moments: Literal["keep", "project", "reset"] = "keep",
        align_signs: bool = True,
        state_dtype: Literal["param", "float32", "bfloat16"] = "param",
        stochastic_rounding: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            host="adafactor",
            transform=basis,
            host_options={"beta1": beta1},
            transform_options=self._projection(rank, side, refresh_every, stagger, moments, align_signs),
            scale=scale,
            weight_decay=weight_decay,
            state_dtype=state_dtype,
            stochastic_rounding=stochastic_rounding,
            maximize=maximize,
            foreach=foreach,
        )
