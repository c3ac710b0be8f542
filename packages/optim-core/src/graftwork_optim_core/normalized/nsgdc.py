"""NSGDC: normalized gradient descent with momentum, and with clipping where it is wanted.

    m_0 = g_0,    m_t = (1 - a) m_{t-1} + a Clip_h(g_t),    w_{t+1} = w_t - lr m_t / ||m_t||

with ``a = 1 - momentum`` and ``Clip_h(v) = v min(1, h / ||v||)``. Source: Sun, Liu, Yuan, arXiv:2410.16561
(JMLR 26(237), 2025); its first version has the C stand for "without clipping", which is ``clip=None``.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.normalized.optimizer import NormalizedOptimizer


class NSGDC(NormalizedOptimizer):
    """Moves of one length along the running mean of the gradients, clipped or not.

    A step in which any gradient is not finite, or so large that its squares overflow, is not made: heavy
    tails do that in half precision. :meth:`nonfinite_skips` counts such steps.

    Args:
        params: parameters, named parameters or groups of either. A group may set the options for itself, but
            for clip, norm and norm_dtype.
        lr: length of a move, 0 or more; a tensor of one element is read at every step. Of several groups each
            moves by its own ``lr`` times its part of the normalized direction.
        momentum: of the running mean, in [0, 1); ``1 - a`` of the paper.
        clip: largest norm of a gradient, greater than 0; none clips nothing.
        norm: "global" is that of all parameters together, as published; "per_tensor" normalizes and clips
            each parameter by itself, which no theorem covers.
        weight_decay: decoupled decay per unit of ``lr``, 0 or more, outside the normalization.
        coupled_weight_decay: is added to the gradient, times the parameter, before clipping; 0 or more.
        norm_dtype: of the sums of squares, "float32" or "float64", for parameters of no wider dtype.
        state_dtype: of the momentum: "param" for the parameter's own, "float32" or "bfloat16".
        maximize: climb instead of descend.
        foreach: take all parameters in one call of each operation; none means on accelerators only.
        capturable: keep every scalar on the device, so that a step can be captured in a CUDA graph. Off a CPU
            no step waits for the device in either case.
        fused: let a kernel take the gradient into the momentum and its norm at once, on a CPU by Numba if it
            is installed; none means where foreach is none too.

    Raises:
        ValueError: an option is out of its range, or a parameter is complex.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> optimizer = NSGDC([weight], lr=1.0, momentum=0.5)
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> optimizer.step()
    >>> [round(value, 4) for value in weight.tolist()]
    [2.4, 3.2]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        *,
        momentum: float = 0.9,
        clip: float | None = None,
        norm: Literal["global", "per_tensor"] = "global",
        weight_decay: float = 0.0,
        coupled_weight_decay: float = 0.0,
        norm_dtype: Literal["float32", "float64"] = "float32",
        state_dtype: Literal["param", "float32", "bfloat16"] = "param",
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "clip": clip,
            "norm": norm,
            "weight_decay": weight_decay,
            "coupled_weight_decay": coupled_weight_decay,
            "norm_dtype": norm_dtype,
            "state_dtype": state_dtype,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "fused": fused,
        }
        super().__init__(params, defaults)
