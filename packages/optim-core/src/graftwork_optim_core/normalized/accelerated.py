"""A-NSGDC: normalized gradient descent with gradients taken ahead, which second-order smoothness rewards.

    y_t = w_t + ((1 - a) / a) (w_t - w_{t-1}),    m_t = (1 - a) m_{t-1} + a Clip_h(g(y_t))
    w_{t+1} = w_t - lr m_t / ||m_t||

with ``a = 1 - momentum``, ``m_0 = g(w_0)`` and ``y_0 = w_0``. Where the Hessian is constant m is then free
of the error by which momentum lags behind. Sources: Sun, Liu, Yuan, arXiv:2410.16561 (JMLR 26(237), 2025)
for the rate; Cutkosky, Mehta, arXiv:2002.03305, for the point y. That the accelerated variant of the former
uses this very point is inferred from its rate.

The parameters hold y. With ``ahead = ((1 - a) / a) lr / ||m||`` of the last step, ``w = y + ahead m``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.common.parameters import arithmetic_dtype
from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.common.sharding import local_part
from graftwork_optim_core.common.state_dict_hook import StateDictHooks
from graftwork_optim_core.normalized.arithmetic import move
from graftwork_optim_core.normalized.movers import Mover
from graftwork_optim_core.normalized.optimizer import NormalizedOptimizer, Sample


class ANSGDC(NormalizedOptimizer):
    """Moves of one length along the running mean of gradients that are taken ahead of the iterate.

    During training the parameters hold the point y, at which gradients are wanted. Call :meth:`eval` before
    the model is evaluated or exported, so that they hold the iterate w, and :meth:`train` before the next
    step. Both may be called again without harm. A state dict says which of the two the parameters held; after
    one of w is loaded, :meth:`train` computes y anew, equal but for last bits.
    Under ``fully_shard`` name the model by :meth:`attach`; its state dict then says once where it is taken of
    the point y.

    A step in which any gradient is not finite, or so large that its squares overflow, is not made;
    :meth:`nonfinite_skips` counts such steps.

    Args:
        params: parameters, named parameters or groups of either. A group may set the options for itself, but
            for clip, norm and norm_dtype.
        lr: length of a move of w, 0 or more; a tensor of one element is read at every step.
        momentum: of the running mean, in [0, 1); ``1 - a`` of the paper.
        clip: largest norm of a gradient, greater than 0; none clips nothing.
        norm: "global" is that of all parameters together, as published; "per_tensor" normalizes and clips
            each parameter by itself, which no theorem covers.
        weight_decay: decoupled decay of w per unit of ``lr``, 0 or more, outside the normalization; the look
            ahead does not contain it.
        coupled_weight_decay: is added to the gradient, times y, before clipping; 0 or more.
        norm_dtype: of the sums of squares, "float32" or "float64", for parameters of no wider dtype.
        state_dtype: of the momentum: "param" for the parameter's own, "float32" or "bfloat16".
        maximize: climb instead of descend.
        foreach: take the norms of all parameters in one call; none means on accelerators only.
        capturable: keep every scalar on the device.
        fused: let a kernel take the gradient into the momentum and its norm at once, on a CPU by Numba if it
            is installed; none means where foreach is none too.

    Raises:
        ValueError: an option is out of its range, or a parameter is complex.

    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> optimizer = ANSGDC([weight], lr=1.0, momentum=0.5)
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> optimizer.step()
    >>> [round(value, 4) for value in weight.tolist()]
    [1.8, 2.4]
    >>> optimizer.eval()
    >>> [round(value, 4) for value in weight.tolist()]
    [2.4, 3.2]
    """

    own_notes: ClassVar[tuple[str, ...]] = ("evaluating",)

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
            "evaluating": False,
        }
        self._held: dict[Tensor, Tensor] = {}
        self._hooks = StateDictHooks()
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group and make its state; in evaluation mode too, since w and y of it are still the same.

        Raises:
            ValueError: an option is out of range or not that of the other groups, or a parameter is complex.
        """
        if self.param_groups:
            param_group = {**param_group, "evaluating": self._shared("evaluating")}
        super().add_param_group(param_group)

    def _fresh_state(self, name: str, parameter: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
        state = super()._fresh_state(name, parameter, options)
        return {**state, "ahead": self._scalar(parameter, options, arithmetic_dtype(parameter))}

    def attach(self, model: nn.Module) -> None:
        """Name the module whose parameters these are; see the class."""
        super().attach(model)
        self._hooks.move_to(model, self)

    def trains_elsewhere(self) -> bool:
        """Whether the parameters hold a point y that is not the iterate w."""
        return not self.evaluating and any(bool(state["ahead"]) for _, state in self._moved())

    @property
    def evaluating(self) -> bool:
        """Whether the parameters hold the iterate w instead of the point y."""
        return bool(self.param_groups) and bool(self._shared("evaluating"))

    @torch.no_grad()
    def eval(self) -> None:
        """Let the parameters hold the iterate w, until :meth:`train`; a copy of y is kept meanwhile."""
        if self.evaluating:
            return
        for parameter, state in self._moved():
            values = local_part(parameter)
            self._held[parameter] = values.clone()
            _shift(values, state, -1.0)
        self._set_mode(True)

    @torch.no_grad()
    def train(self) -> None:
        """Let the parameters hold the point y again: the same bits, or computed anew after loading."""
        if not self.evaluating:
            return
        for parameter, state in self._moved():
            values = local_part(parameter)
            if parameter in self._held:
                values.copy_(self._held[parameter])
            else:
                _shift(values, state, 1.0)
        self._held = {}
        self._set_mode(False)

    def _set_mode(self, evaluating: bool) -> None:
        for group in self.param_groups:
            group["evaluating"] = evaluating
        self._reshard()

    def _moved(self) -> list[tuple[Tensor, dict[str, Any]]]:
        return [(one, self.state[one]) for one in self._parameters() if self.state.get(one)]

    def _step_on(self, movers: list[Mover], *further: Sequence[Tensor]) -> None:
        if self.evaluating:
            raise RuntimeError(f"call {type(self).__name__}.train() before step(); eval() was called")
        super()._step_on(movers, *further)

    def _prepare(self, sample: Sample) -> None:
        """Go back from y to w."""
        for mover in sample.movers:
            ahead, finite = _number(mover.state["ahead"], sample), sample.verdict(mover.values)
            if finite is not None:
                ahead = torch.where(finite, ahead, torch.zeros_like(mover.state["ahead"]))
            move(mover.values, mover.momentum, -ahead)

    def _lengths(self, sample: Sample, norms: Sequence[Scalar]) -> list[Scalar]:
        """Return the lengths of the moves from w to the next y."""
        lengths = super()._lengths(sample, norms)
        further: list[Scalar] = []
        for mover, length in zip(sample.movers, lengths, strict=True):
            momentum = float(mover.options["momentum"])
            sample.write(mover.state["ahead"], length * (momentum / (1 - momentum)))
            further.append(length / (1 - momentum))
        return further

    def _loaded(self) -> None:
        super()._loaded()
        self._held = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_held": self._held}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_held", {})
        if "_hooks" not in self.__dict__:
            self._hooks = StateDictHooks()
            if self._model is not None:
                self._hooks.move_to(self._model, self)


def _number(tensor: Tensor, sample: Sample) -> Scalar:
    return float(tensor) if sample.on_host else tensor


def _shift(values: Tensor, state: Mapping[str, Any], by: float) -> None:
    """Move values by ``ahead`` along the momentum: with 1 from w to y, with -1 back."""
    move(values, local_part(state["momentum_buffer"]), by * state["ahead"])
