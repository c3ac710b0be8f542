"""GoLore: GaLore that takes its last bases at random, which makes it converge under gradient noise.

Source: Yutong He, Pengrui Li, Yipeng Hu, Chuyan Chen, Kun Yuan, Subspace Optimization for Large Language
Models with Convergence Guarantees, ICML 2025, arXiv:2410.11289. "GoLore@20%" is ``random_last=0.2``: random
in the last fifth of the run. The published gains over GaLore are small; what is large is the guarantee.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.galore import Basis
from graftwork_optim_core.subspace.optimizer import SubspaceOptimizer


class _GoLore(SubspaceOptimizer):
    """What the fronts of GoLore share: the options of the projection, as one table."""

    @staticmethod
    def _projection(
        rank: int,
        side: str,
        refresh_every: int,
        stagger: bool,
        moments: str,
        early_basis: str,
        random_last: float,
        total_steps: int | None,
        seed: int,
    ) -> dict[str, Any]:
        return {
            "rank": rank,
            "side": side,
            "refresh_every": refresh_every,
            "stagger": stagger,
            "moments": moments,
            "early_basis": early_basis,
            "random_last": random_last,
            "total_steps": total_steps,
            "seed": seed,
        }


class GoLoreAdamW(_GoLore):
    """AdamW in the gradient's leading singular directions first and in random directions in the end.

    Args:
        params: parameters, named parameters or groups of either. A group may set any of the options for
            itself.
        lr: learning rate, 0 or more; a tensor of one element is read at every step. Weights move by ``scale *
            lr``.
        betas: decay of the running mean and of the running mean square, each in [0, 1).
        eps: added to the root before its bias correction, greater than 0.
        weight_decay: decoupled decay per unit of ``lr``, 0 or more, applied after the update.
        rank: directions kept, 1 or more. A weight with no more rows or columns than that makes the host's own
            step.
        refresh_every: steps between bases, 1 or more.
        scale: multiplies the update of a weight, greater than 0.
        random_last: fraction of the run, at its end, whose bases are random, in [0, 1].
        total_steps: of the run, needed unless random_last is 0 or 1; a Graftwork trainer supplies its own.
        side: "std" projects the shorter axis, as published; "reverse_std", "left", "right" or "full".
        early_basis: how the bases before are found: "svd" as published, "gram", "rsvd" or "power".
        stagger: refresh weights at different steps, so that after the first no step pays for all.
        moments: at a refresh "project" the first moment into the new basis, as in the theory, which with side
            "full" and a refresh at every step lets updates grow ten-thousandfold before bases are random;
            "keep" both as they are or "reset" both.
        seed: of the random bases, with the parameter's place and the number of its bases so far.
        state_dtype: of moments and basis: "param" for the weight's own, "float32" or "bfloat16".
        stochastic_rounding: round bfloat16 weights at random, so that small updates are kept on average.
        maximize: climb instead of descend.
        foreach: take all plain weights of a group in one batch; none means on accelerators only.

    Raises:
        ValueError: an option is out of its range or total_steps is missing, a parameter is complex, or
            columns of a weight lie in several processes.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.zeros(8, 16))
    >>> optimizer = GoLoreAdamW([weight], rank=4, total_steps=1000)
    >>> weight.grad = torch.randn(8, 16)
    >>> optimizer.step()
    >>> optimizer.state[weight]["basis_left"].shape
    torch.Size([8, 4])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        rank: int = 128,
        refresh_every: int = 200,
        scale: float = 1.0,
        random_last: float = 0.2,
        total_steps: int | None = None,
        side: Literal["std", "reverse_std", "left", "right", "full"] = "std",
        early_basis: Basis = "svd",
        stagger: bool = False,
        moments: Literal["keep", "project", "reset"] = "project",
        seed: int = 0,
        state_dtype: Literal["param", "float32", "bfloat16"] = "param",
        stochastic_rounding: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            host="adamw",
            transform="golore",
            host_options={"betas": betas, "eps": eps},
            transform_options=self._projection(
                rank, side, refresh_every, stagger, moments, early_basis, random_last, total_steps, seed
            ),
            scale=scale,
            weight_decay=weight_decay,
            state_dtype=state_dtype,
            stochastic_rounding=stochastic_rounding,
            maximize=maximize,
            foreach=foreach,
        )


class GoLoreMSGD(_GoLore):
    """Momentum SGD in the gradient's leading singular directions first and in random ones in the end.

    This is the form that the convergence theorems cover.

    Args:
        params: parameters, named parameters or groups of either. A group may set any of the options for
            itself.
        lr: learning rate, 0 or more; a tensor of one element is read at every step. Weights move by ``scale *
            lr``.
        momentum: decay of the running sum, in [0, 1).
        dampening: how much of each gradient after the first is held back, in [0, 1]; equal to momentum it
            makes the running sum the running mean of the theory.
        weight_decay: decoupled decay per unit of ``lr``, 0 or more, applied after the update.
        nesterov: step along ``R + momentum * M``; needs dampening 0.
        rank: directions kept, 1 or more. A weight with no more rows or columns than that makes the host's own
            step.
        refresh_every: steps between bases, 1 or more.
        scale: multiplies the update of a weight, greater than 0; 4 as published for LLaMA-2-7B.
        random_last: fraction of the run, at its end, whose bases are random, in [0, 1].
        total_steps: of the run, needed unless random_last is 0 or 1; a Graftwork trainer supplies its own.
        side: "std" projects the shorter axis, as published; "reverse_std", "left", "right" or "full".
        early_basis: how the bases before are found: "svd" as published, "gram", "rsvd" or "power".
        stagger: refresh weights at different steps, so that after the first no step pays for all.
        moments: at a refresh "project" the momentum into the new basis, as in the theory; "keep" it as it is
            or "reset" it.
        seed: of the random bases, with the parameter's place and the number of its bases so far.
        state_dtype: of momentum and basis: "param" for the weight's own, "float32" or "bfloat16".
        stochastic_rounding: round bfloat16 weights at random, so that small updates are kept on average.
        maximize: climb instead of descend.
        foreach: take all plain weights of a group in one batch; none means on accelerators only.

    Raises:
        ValueError: an option is out of its range or total_steps is missing, a parameter is complex, or
            columns of a weight lie in several processes.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.zeros(8, 16))
    >>> sorted(GoLoreMSGD([weight], rank=4, random_last=1.0).state[weight])
    ['basis_left', 'calls', 'momentum_buffer', 'refreshes', 'step']
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        *,
        nesterov: bool = False,
        rank: int = 1024,
        refresh_every: int = 500,
        scale: float = 4.0,
        random_last: float = 0.2,
        total_steps: int | None = None,
        side: Literal["std", "reverse_std", "left", "right", "full"] = "std",
        early_basis: Basis = "svd",
        stagger: bool = False,
        moments: Literal["keep", "project", "reset"] = "project",
        seed: int = 0,
        state_dtype: Literal["param", "float32", "bfloat16"] = "param",
        stochastic_rounding: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            host="msgd",
            transform="golore",
            host_options={"momentum": momentum, "dampening": dampening, "nesterov": nesterov},
            transform_options=self._projection(
                rank, side, refresh_every, stagger, moments, early_basis, random_last, total_steps, seed
            ),
            scale=scale,
            weight_decay=weight_decay,
            state_dtype=state_dtype,
            stochastic_rounding=stochastic_rounding,
            maximize=maximize,
            foreach=foreach,
        )
