"""NSGDC-VR: normalized gradient descent with recursive momentum.

    m_0 = g(w_0; xi_0),    m_t = g(w_t; xi_t) + (1 - a) (m_{t-1} - g(w_{t-1}; xi_t))
    w_{t+1} = w_t - lr m_t / ||m_t||

with ``a = 1 - momentum``: two gradients a step, of the same sample xi_t, each clipped where that is wanted.
Source: Sun, Liu, Yuan, arXiv:2410.16561 (JMLR 26(237), 2025). Its rate needs individual smoothness:
``||g(w; xi) - g(v; xi)|| <= L ||w - v||`` for every sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.common.parameters import arithmetic_dtype
from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.common.sharding import local_gradient, local_part
from graftwork_optim_core.normalized.arithmetic import recur
from graftwork_optim_core.normalized.movers import Mover, with_decay, with_gradients
from graftwork_optim_core.normalized.optimizer import NormalizedOptimizer, Sample
from graftwork_optim_core.normalized.two_points import (
    Former,
    SideEffects,
    check_same_batch,
    fingerprint_of,
    swap,
)


class NSGDCVR(NormalizedOptimizer):
    """Moves of one length along a momentum that follows the gradient, at the cost of a second one each step.

    ``step(closure)`` calls the closure twice, first at the previous parameters and then at the present ones,
    and once at the first step. The closure zeroes the gradients, evaluates loss and gradients and returns
    the loss; it must be a function of the parameters alone for the batch at hand. Random numbers (dropout)
    are the same in both calls. Name the model by :meth:`attach`, so that its buffers are too and advance
    once (batch norm). All micro-batches of a step belong into one call. Gradients that a scaler has scaled
    must be unscaled in the closure. A closure with an attribute ``fingerprint``, a value or a function of
    nothing, lets the step check that both calls saw one batch.

    A step in which any of the gradients is not finite is not made; :meth:`nonfinite_skips` counts such steps.

    Args:
        params: parameters, named parameters or groups of either. A group may set the options for itself, but
            for clip, norm, norm_dtype and previous.
        lr: length of a move, 0 or more; a tensor of one element is read at every step.
        momentum: in [0, 1); ``1 - a`` of the paper.
        clip: largest norm of each of the two gradients, greater than 0; none clips nothing.
        norm: "global" is that of all parameters together, as published; "per_tensor" normalizes and clips
            each parameter by itself, which no theorem covers.
        previous: "store" keeps the previous parameters; "recompute" finds them again from the momentum, to
            rounding, and keeps one copy of the parameters less. It needs float32 or float64 ones.
        weight_decay: decoupled decay per unit of ``lr``, 0 or more, outside the normalization.
        coupled_weight_decay: is added to the gradient, times the parameter, before clipping; 0 or more.
        norm_dtype: of the sums of squares, "float32" or "float64", for parameters of no wider dtype.
        state_dtype: of the momentum: "param" for the parameter's own, "float32" or "bfloat16".
        maximize: climb instead of descend.
        foreach: take all parameters in one call of each operation; none means on accelerators only.
        capturable: keep every scalar on the device.
        fused: let a kernel sum up the squares, on a CPU by Numba if it is installed; none means where
            foreach is none too.

    Raises:
        ValueError: an option is out of its range, or a parameter is complex.

    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> optimizer = NSGDCVR([weight], lr=1.0, momentum=0.5)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = weight.square().sum() / 2
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    12.5
    >>> [round(value, 4) for value in weight.tolist()]
    [2.4, 3.2]
    """

    closure: Literal["gradient"] = "gradient"

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        *,
        momentum: float = 0.9,
        clip: float | None = None,
        norm: Literal["global", "per_tensor"] = "global",
        previous: Literal["store", "recompute"] = "store",
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
            "previous": previous,
            "weight_decay": weight_decay,
            "coupled_weight_decay": coupled_weight_decay,
            "norm_dtype": norm_dtype,
            "state_dtype": state_dtype,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "fused": fused,
        }
        self._began: bool | None = None
        super().__init__(params, defaults)

    def _fresh_state(self, name: str, parameter: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
        state = super()._fresh_state(name, parameter, options)
        if options["previous"] == "store":
            return {**state, "previous": parameter.detach().clone(memory_format=torch.preserve_format)}
        if parameter.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"previous must be 'store' for parameter {name!r} of dtype {parameter.dtype}: to recompute a "
                "previous point takes float32 or float64, got 'recompute'"
            )
        dtype = arithmetic_dtype(parameter)
        kept = self._scalar(parameter, options, dtype).fill_(1)
        return {**state, "moved": self._scalar(parameter, options, dtype), "kept": kept}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step.

        Args:
            closure: see the class.

        Returns:
            The loss at the present parameters, where ``.grad`` is left too.

        Raises:
            RuntimeError: there is no closure, or it saw two batches.
            ValueError: a gradient is sparse.
        """
        if closure is None:
            raise RuntimeError(
                f"{type(self).__name__}.step needs a closure that zeroes the gradients, evaluates loss and "
                "gradients of the batch and returns the loss; it is called at two points"
            )
        self._follow_groups()
        former: Former = {}
        began, first = self._has_begun(), None
        if began:
            states = self._states()
            devices = [mover.device for mover, _, _ in states]
            before = SideEffects(devices, self._model)
            with self._at_previous_point():
                with torch.enable_grad():
                    closure()
                former = self._former_gradients()
                first = fingerprint_of(closure)
            before.restore()
        with torch.enable_grad():
            loss = closure()
        if began:
            check_same_batch(first, fingerprint_of(closure))
        movers = self._movers()
        further = [[_at_both(mover, former) for mover in movers]] if began else []
        self._step_on(movers, *further)
        self._began = True
        return loss

    def _has_begun(self) -> bool:
        """Whether a step was made before, so that there is a previous point."""
        if self._began is None:
            self._began = any(bool(state.get("step", 0)) for state in self.state.values())
        return self._began

    def _states(self) -> list[tuple[Tensor, Tensor, dict[str, Any]]]:
        """Return values, parameter and state of all parameters that have a state."""
        return [
            (local_part(parameter), parameter, self.state[parameter])
            for parameter in self._parameters()
            if self.state.get(parameter)
        ]

    @contextmanager
    def _at_previous_point(self) -> Iterator[None]:
        """Put the previous values into the parameters, and afterwards the present ones, bit for bit."""
        self._reshard()
        stored = self._shared("previous") == "store"
        back: list[tuple[Tensor, Tensor]] = []
        for values, parameter, state in self._states():
            if stored:
                previous = local_part(state["previous"])
                # One that has made no step yet stands where it stood.
                previous.copy_(torch.where(state["step"] == 0, values, previous))
                swap(values, previous)
                back.append((values, previous))
            else:
                back.append((values, values.clone()))
                moved = local_part(state["momentum_buffer"]).to(parameter.dtype) * state["moved"]
                values.copy_(torch.where(state["step"] == 0, values, (values + moved) / state["kept"]))
        try:
            yield
        finally:
            for values, present in back:
                if stored:
                    swap(values, present)
                else:
                    values.copy_(present)
            self._reshard()

    def _former_gradients(self) -> Former:
        former = {}
        for _, parameter, gradient, group in with_gradients(self.param_groups):
            # A copy: DistributedDataParallel writes the next gradients over these.
            local = local_gradient(parameter, gradient).clone()
            former[parameter] = with_decay(parameter, local, group)
        return former

    def _prepare(self, sample: Sample) -> None:
        """Remember where all parameters stand, those too that do not move in this step."""
        taking_part = {mover.parameter for mover in sample.movers}
        for values, parameter, state in self._states():
            if self._shared("previous") == "store":
                sample.write(local_part(state["previous"]), values)
            elif parameter not in taking_part:
                sample.write(state["moved"], 0.0)
                sample.write(state["kept"], 1.0)

    def _take(
        self, sample: Sample, factors: Sequence[Sequence[Scalar | None]], *further: Sequence[Tensor]
    ) -> list[Scalar]:
        if not further:
            return super()._take(sample, factors)
        (former,), (former_factors,) = further, factors
        norms: list[Scalar] = []
        weights = self._weights(sample)
        for number, mover in enumerate(sample.movers):
            clipping = (sample.factors[number], former_factors[number])
            finite = sample.verdict(mover.values)
            recur(mover.momentum, mover.gradient, former[number], weights[number], clipping, finite)
            norms += self._norms([mover.momentum], [mover], sample.on_host)
        return norms

    def _lengths(self, sample: Sample, norms: Sequence[Scalar]) -> list[Scalar]:
        lengths = super()._lengths(sample, norms)
        if self._shared("previous") == "recompute":
            for mover, length in zip(sample.movers, lengths, strict=True):
                sample.write(mover.state["moved"], length)
                sample.write(mover.state["kept"], mover.kept(mover.rate(sample.on_host)))
        return lengths

    def _loaded(self) -> None:
        super()._loaded()
        self._began = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._began = None


def _at_both(mover: Mover, former: Former) -> Tensor:
    """A parameter that was not used at the previous point had the gradient zero there."""
    return former[mover.parameter] if mover.parameter in former else torch.zeros_like(mover.gradient)
