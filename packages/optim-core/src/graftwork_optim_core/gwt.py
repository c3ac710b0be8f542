"""GWT with AdamW as its host: moments of the low band of a Haar transform of each gradient.

Source: Ziqing Wen, Ping Luo, Jiahuan Wang, Kun Yuan, Dongsheng Li, Tao Sun, Gradient Wavelet Transform,
arXiv:2501.07237. The update stands in :mod:`graftwork_optim_core.wavelet.transform`, the moments in
:mod:`graftwork_optim_core.hosts.adamw`, the order of a step in
:mod:`graftwork_optim_core.subspace.optimizer`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.subspace.optimizer import SubspaceOptimizer


class GWTAdamW(SubspaceOptimizer):
    """AdamW whose moments live in the low band of a Haar transform of the gradient.

    Every row of a weight is cut into blocks of ``2 ** level`` columns. Adam's two moments are kept of the
    blocks' sums only; what of the gradient the sums leave out is divided by its block's root and applied
    without any state. The update has full rank, and the state takes ``2 ** -level`` of Adam's memory. Give it
    the groups that :func:`~graftwork_optim_core.param_groups` makes: embeddings, head, norms and biases are
    for plain Adam (level 0).

    A weight whose gradient holds an inf or a NaN, or is so large that its squared norm overflows, makes no
    step and keeps its state; :meth:`nonfinite_skips` counts such weights.

    Args:
        params: parameters, named parameters or groups of either. A group may set any of the options for
            itself.
        lr: learning rate, 0 or more; a tensor of one element is read at every step. Weights move by ``scale *
            lr``.
        betas: decay of the running mean and of the running mean square, each in [0, 1).
        eps: added to the root before its bias correction, greater than 0. It is an absolute size: where
            gradients are not far larger, as in fine-tuning, it damps the update.
        weight_decay: decoupled decay per unit of ``lr``, 0 or more, applied after the update.
        level: number of halvings, 0 to 16; moments are kept of blocks of ``2 ** level`` columns. 0 is plain
            Adam.
        basis: an orthogonal wavelet by its name in PyWavelets. Haar's update has a closed form and is the
            fast one; the moments of longer ones take a little more memory, ``db2`` at level 2 two columns
            more.
        scale: multiplies the update of a weight, greater than 0; beside ``lr`` a second learning rate.
        detail_guard: "auto" bounds the details, the part without moments, by 3 roots and leaves the mean's
            bias correction out of them; "off" is the published rule, which needs a warm-up from lr 0.
        boundary: how a basis other than Haar's continues a row beyond its ends.
        norm_growth_limit: by what factor a direction's norm may grow from step to step, 1 or more; none lifts
            the limit.
        state_dtype: of the moments: "param" for the weight's own, "float32" or "bfloat16". The arithmetic is
            float32 whatever it is, float64 for float64 weights.
        stochastic_rounding: round bfloat16 weights at random, so that small updates are kept on average.
        maximize: climb instead of descend.
        foreach: take all weights of a group in one batch, which saves kernel launches and costs memory for
            their coarse gradients; none means on accelerators only.
        capturable: keep every scalar on the device, so that a step can be captured in a CUDA graph. Off a CPU
            no step waits for the device in either case.
        fused: let a kernel make the whole step of a weight, on CUDA Triton's, on a CPU Numba's if it is
            installed (``pip install graftwork-optim-core[numba]``); none means where foreach is none too.

    Raises:
        ValueError: an option is out of its range, a parameter is complex, or a sharding cuts blocks of
            columns.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.ModuleDict({"mlp": torch.nn.Linear(16, 4), "head": torch.nn.Linear(4, 1)})
    >>> optimizer = GWTAdamW(GWTAdamW.select_parameters(model), lr=1e-2, level=2)
    1 of 4 tensors transformed: 64 of 73 parameters (87.7%)
    >>> before = model["mlp"].weight.detach().clone()
    >>> loss = model["head"](model["mlp"](torch.ones(2, 16))).square().mean()
    >>> loss.backward()
    >>> optimizer.step()
    >>> bool((model["mlp"].weight != before).any())
    True
    >>> optimizer.state[model["mlp"].weight]["exp_avg"].shape
    torch.Size([4, 4])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        level: int = 2,
        basis: str = "haar",
        scale: float = 0.25,
        detail_guard: Literal["auto", "off"] = "auto",
        boundary: Literal["zero", "constant", "reflect", "periodic", "symmetric"] = "zero",
        norm_growth_limit: float | None = 1.01,
        state_dtype: Literal["param", "float32", "bfloat16"] = "param",
        stochastic_rounding: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            host="adamw",
            transform="wavelet",
            host_options={"betas": betas, "eps": eps},
            transform_options={
                "basis": basis,
                "level": level,
                "detail_guard": detail_guard,
                "boundary": boundary,
            },
            scale=scale,
            weight_decay=weight_decay,
            norm_growth_limit=norm_growth_limit,
            state_dtype=state_dtype,
            stochastic_rounding=stochastic_rounding,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            fused=fused,
        )


class GWTMuon(SubspaceOptimizer):
    """Muon whose momentum lives in the low band of a wavelet transform of the gradient.

    The paper (arXiv:2501.07237) says that GWT combines with Muon and gives no rule; this one is ours.
    Momentum is kept of the coarse coefficients alone, ``2 ** -level`` of Muon's; the details of the current
    gradient join it, and the whole is made orthogonal by Newton and Schulz's iteration. Parameters that are
    no matrices, and plain groups, make Adam's step.

    Args:
        params: parameters, named parameters or groups of either. A group may set any of the options for
            itself.
        lr: learning rate, 0 or more; a tensor of one element is read at every step.
        momentum: decay of the running mean of the coarse gradient, in [0, 1).
        weight_decay: decoupled decay per unit of ``lr``, 0 or more, applied after the update.
        nesterov: step along the running mean as it will be after the next like gradient.
        ns_steps: iterations of Newton and Schulz, 1 or more.
        adjust_lr_fn: how the rate depends on a weight's shape, as in ``torch.optim.Muon``: "match_rms_adamw",
            so that one ``lr`` suits the parameters that make Adam's step too, or "original".
        orthogonalize: "full" for the update of the weight's size, with its details; "coarse" for the momentum
            alone, at ``2 ** -level`` of the cost and without details.
        level: number of halvings, 0 to 16; 0 is Muon itself.
        basis: an orthogonal wavelet by its name in PyWavelets.
        boundary: how a basis other than Haar's continues a row beyond its ends.
        scale: multiplies the update of a weight, greater than 0.
        betas: Adam's decay rates, for those.
        eps: Adam's, for those.
        state_dtype: of the averages: "param" for the weight's own, "float32" or "bfloat16".
        stochastic_rounding: round bfloat16 weights at random, so that small updates are kept on average.
        maximize: climb instead of descend.
        foreach: take all plain weights of a group in one batch; none means on accelerators only.

    Raises:
        ValueError: an option is out of its range, a parameter is complex, or a sharding cuts a row.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.ModuleDict({"mlp": torch.nn.Linear(16, 4), "head": torch.nn.Linear(4, 1)})
    >>> optimizer = GWTMuon(GWTMuon.select_parameters(model))
    1 of 4 tensors transformed: 64 of 73 parameters (87.7%)
    >>> optimizer.state[model["mlp"].weight]["momentum_buffer"].shape
    torch.Size([4, 4])
    >>> sorted(optimizer.state[model["head"].weight])
    ['exp_avg', 'exp_avg_sq', 'step']
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        *,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] = "match_rms_adamw",
        orthogonalize: Literal["full", "coarse"] = "full",
        level: int = 2,
        basis: str = "haar",
        boundary: Literal["zero", "constant", "reflect", "periodic", "symmetric"] = "zero",
        scale: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        state_dtype: Literal["param", "float32", "bfloat16"] = "param",
        stochastic_rounding: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            host="muon",
            transform="wavelet",
            host_options={
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
                "orthogonalize": orthogonalize,
            },
            transform_options={"basis": basis, "level": level, "boundary": boundary},
            plain_host="adamw",
            plain_host_options={"betas": betas, "eps": eps},
            scale=scale,
            weight_decay=weight_decay,
            state_dtype=state_dtype,
            stochastic_rounding=stochastic_rounding,
            maximize=maximize,
            foreach=foreach,
        )
