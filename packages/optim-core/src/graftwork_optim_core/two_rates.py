"""AdamW under the two learning rates of GWT and GaLore, which is what these are to be compared with.

GWT (arXiv:2501.07237) and GaLore (arXiv:2403.03507) move the weights of attention and MLP by ``scale * lr``
and all others by ``lr``. Whoever compares them with AdamW at one rate measures that rule, too.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.subspace.optimizer import SubspaceOptimizer


class TwoRateAdamW(SubspaceOptimizer):
    """AdamW that moves some weights by a part of the learning rate; no transform, Adam's full state.

    Give it the groups that :func:`~graftwork_optim_core.param_groups` makes: the weights of attention and MLP
    move by ``scale * lr``, embeddings, head, norms and biases by ``lr``.

    Args:
        params: parameters, named parameters or groups of either. A group may set any of the options for
            itself.
        lr: learning rate, 0 or more; a tensor of one element is read at every step.
        betas: decay of the running mean and of the running mean square, each in [0, 1).
        eps: added to the root before its bias correction, greater than 0.
        weight_decay: decoupled decay per unit of ``lr``, 0 or more, applied after the update.
        scale: what of ``lr`` the weights that are not plain move by, greater than 0.
        state_dtype: of the moments: "param" for the weight's own, "float32" or "bfloat16".
        maximize: climb instead of descend.
        foreach: take all weights of a group in one batch; none means on accelerators only.
        capturable: keep every scalar on the device, so that a step can be captured in a CUDA graph.
        fused: let a kernel make the whole step of a weight, on CUDA Triton's, on a CPU Numba's if it is
            installed; none means where foreach is none too.

    Raises:
        ValueError: an option is out of its range, or a parameter is complex.

    >>> import torch
    >>> model = torch.nn.ModuleDict({"mlp": torch.nn.Linear(16, 4), "head": torch.nn.Linear(4, 1)})
    >>> optimizer = TwoRateAdamW(TwoRateAdamW.select_parameters(model), lr=1e-2)
    1 of 4 tensors transformed: 64 of 73 parameters (87.7%)
    >>> {name: optimizer.rate_of(weight, group) for group in optimizer.param_groups
    ...  for name, weight in zip(group["param_names"], group["params"])}
    {'mlp.weight': 0.0025, 'mlp.bias': 0.01, 'head.weight': 0.01, 'head.bias': 0.01}
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        scale: float = 0.25,
        state_dtype: Literal["param", "float32", "bfloat16"] = "param",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            host="adamw",
            transform="identity",
            host_options={"betas": betas, "eps": eps},
            scale=scale,
            weight_decay=weight_decay,
            state_dtype=state_dtype,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            fused=fused,
        )
