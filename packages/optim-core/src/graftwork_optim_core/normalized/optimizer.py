"""What the normalized optimizers share: one step of all parameters w with gradients g, in this order:

1. measure: ``||g||`` over all parameters. Where it is not finite nothing changes but a counter.
2. clip: ``g <- g min(1, clip / ||g||)``.
3. momentum: a rule takes g into m; at a parameter's first step ``m = g``.
4. move: ``w <- (1 - lr weight_decay) w - lr m / ||m||``, and no move where ``m = 0``, or where so little is
   left of it (1e-31 in float32) that its direction is rounding.

Source: Sun, Liu, Yuan, arXiv:2410.16561; JMLR 26(237), 2025. The norms are over all parameters of all groups
together, those included of which other processes hold parts: m and its norm take two all-reduces of one
number each. Everything of the model is read or written seven times an element: once for 1, thrice each for 3
and 4.

On a CPU the norms are numbers. Elsewhere, and with ``capturable``, they stay tensors that nobody reads.

Longer than other files here: what torch.optim.Optimizer promises is kept by one class.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.common.optimizer import GradientOptimizer, require_real
from graftwork_optim_core.common.parameters import STATE_DTYPES, arithmetic_dtype
from graftwork_optim_core.common.ranges import (
    require_decay,
    require_not_negative,
    require_one_of,
    require_positive,
    require_rate,
    require_same,
)
from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.common.sharding import (
    check_sharding,
    is_sharded_type,
    let_go_of_gathered,
    local_part,
    zeros_placed_like,
)
from graftwork_optim_core.normalized.arithmetic import average, move_all
from graftwork_optim_core.normalized.movers import Mover, mover_of, with_gradients
from graftwork_optim_core.normalized.norms import Shards, exact_norm, least_norm, norm_of, norms_of

_SHARED = ("clip", "norm", "norm_dtype", "previous", "evaluating")
"""Options that hold for all groups, since one norm is taken over all parameters."""


class Sample(NamedTuple):
    """The gradients of a step and what is known of them.

    Args:
        movers: the parameters that have a gradient.
        on_host: whether scalars are numbers.
        factors: what clipping leaves of each gradient; None for all of it.
        finite: on the device, whether the step is made; None where it is known to be.
    """

    movers: Sequence[Mover]
    on_host: bool
    factors: Sequence[Scalar | None]
    finite: Tensor | None

    def verdict(self, tensor: Tensor) -> Tensor | None:
        """Return whether the step is made, on the device of a tensor; None where it is known to be."""
        return None if self.finite is None else self.finite.to(tensor.device)

    def write(self, slot: Tensor, value: Scalar) -> None:
        """Write a value into a slot, unless the step is not made."""
        new, finite = torch.as_tensor(value, dtype=slot.dtype, device=slot.device), self.verdict(slot)
        slot.copy_(new if finite is None else torch.where(finite, new, slot))


class NormalizedOptimizer(GradientOptimizer):
    """Gradient descent whose moves have one length, over all parameters together.

    Use one of the classes that say how momentum is taken: :class:`~.nsgdc.NSGDC`,
    :class:`~.variance_reduced.NSGDCVR` or :class:`~.accelerated.ANSGDC`.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self._forget()
        self._model: nn.Module | None = None
        self.check_options(defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group and make its state; its parameters start at their own first step.

        Raises:
            ValueError: an option is out of range or not that of the other groups, a parameter is complex, or
                it is a flattened view of several.
        """
        super().add_param_group(param_group)
        self._forget()
        for parameter in self.param_groups[-1]["params"]:
            device = local_part(parameter).device
            # Made now, since a captured step may make nothing that outlives it.
            self._skips.setdefault(device, torch.zeros((), dtype=torch.int64, device=device))

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Check a group's options.

        Raises:
            ValueError: one is out of its range; the message states the range and the value.
        """
        require_rate(options["lr"])
        require_decay("momentum", options["momentum"])
        if options["clip"] is not None:
            require_positive("clip", options["clip"])
        for name in ("weight_decay", "coupled_weight_decay"):
            require_not_negative(name, options[name])
        require_one_of("norm", options["norm"], ("global", "per_tensor"))
        require_one_of("norm_dtype", options["norm_dtype"], ("float32", "float64"))
        require_one_of("state_dtype", options["state_dtype"], ("param", "float32", "bfloat16"))
        if "previous" in options:
            require_one_of("previous", options["previous"], ("store", "recompute"))

    def _check_together(self, groups: Sequence[Mapping[str, Any]]) -> None:
        require_same(_SHARED, groups, "one norm is taken over all of them")

    def _fixed_options(self, group: Mapping[str, Any]) -> Collection[str]:
        return ("previous",)

    def _fit_states(self, changes: Mapping[int, Collection[str]]) -> None:
        super()._fit_states(changes)
        if any("norm" in changed for changed in changes.values()):
            self._forget()

    def _remade(self) -> None:
        self._forget()

    def _needed_by(self, parameter: Tensor, options: Mapping[str, Any]) -> object:
        return type(self).__name__

    def _fresh_state(self, name: str, parameter: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
        require_real(name, parameter)
        check_sharding(name, parameter, block=1)
        dtype = STATE_DTYPES.get(options["state_dtype"], parameter.dtype)
        return {
            "step": self._scalar(parameter, options, torch.float32),
            "momentum_buffer": _like(parameter, dtype),
        }

    @staticmethod
    def _scalar(parameter: Tensor, options: Mapping[str, Any], dtype: torch.dtype) -> Tensor:
        return torch.zeros((), dtype=dtype, device=local_part(parameter).device)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_model": self._model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_model", None)
        self._forget()

    def _forget(self) -> None:
        """Forget what follows from groups and states, which have changed."""
        self._shards: Shards | None = None
        self._counts: Tensor | None = None
        self._counted: list[int] = []

    def attach(self, model: nn.Module) -> None:
        """Name the module whose parameters these are: its buffers, and what ``fully_shard`` has gathered."""
        self._model = model

    def _reshard(self) -> None:
        """Let go of gathered parameters, which would be used for the next forward pass whatever they are."""
        let_go_of_gathered(self._model, self._parameters())

    def _step_all(self) -> None:
        self._step_on(self._movers())

    def _movers(self) -> list[Mover]:
        movers = []
        for name, parameter, gradient, group in with_gradients(self.param_groups):
            state = self.state[parameter]
            if not state:
                state = self.state[parameter] = self._made_state(name, parameter, group)
                self._forget()
            movers.append(mover_of(name, parameter, gradient, state, group))
        return movers

    def _step_on(self, movers: list[Mover], *further: Sequence[Tensor]) -> None:
        """Make the step; ``further`` are lists of other gradients, by mover, which must be finite too."""
        # Every process takes part in the sums, even one of whose parameters none has a gradient.
        shards = self._sharding()
        if not movers and not shards.spread:
            return
        on_host = self._on_host(movers)
        positions = self._positions(movers) if shards.spread else []
        lists = [[mover.gradient for mover in movers], *further]
        norms = shards.joined(positions, [self._norms(one, movers, on_host) for one in lists])
        finite = _all_finite([norm for kind in norms for norm in kind])
        if finite is False:
            self._count_skips(1.0, torch.device("cpu"))
            return
        verdict = finite if isinstance(finite, Tensor) else None
        factors = [self._factors(norm, movers) for norm in norms]
        sample = Sample(movers, on_host, factors[0], verdict)
        self._prepare(sample)
        local = self._take(sample, factors[1:], *further)
        (lengths,) = shards.joined(positions, [local])
        self._move(sample, lengths)
        if verdict is not None:
            self._count_skips(~verdict, verdict.device)

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _positions(self, movers: Sequence[Mover]) -> list[int]:
        numbers = {parameter: position for position, parameter in enumerate(self._parameters())}
        return [numbers[mover.parameter] for mover in movers]

    def _sharding(self) -> Shards:
        if self._shards is None:
            self._shards = Shards(self._parameters(), self._shared("norm") == "per_tensor")
        return self._shards

    def _on_host(self, movers: Sequence[Mover]) -> bool:
        if torch.compiler.is_compiling():
            return False
        return all(mover.values.device.type == "cpu" and not mover.options["capturable"] for mover in movers)

    def _foreach(self, mover: Mover, on_host: bool) -> bool:
        wanted = mover.options["foreach"]
        return bool(wanted) if wanted is not None else not on_host

    def _norms(self, tensors: Sequence[Tensor], movers: Sequence[Mover], on_host: bool) -> list[Scalar]:
        dtype = getattr(torch, self._shared("norm_dtype"))
        if not on_host:
            foreach = bool(movers) and self._foreach(movers[0], on_host)
            return list(norms_of(tensors, dtype, foreach))
        kernel = self._kernel(movers)
        squares = kernel.sums_of_squares(tensors) if kernel is not None else None
        if squares is not None:
            return self._roots(squares, tensors)
        return [
            exact_norm(float(norm_of(tensor, dtype)), tensor, torch.promote_types(tensor.dtype, dtype))
            for tensor in tensors
        ]

    @staticmethod
    def _roots(squares: Sequence[float], tensors: Sequence[Tensor]) -> list[Scalar]:
        """Return norms from the squares that a kernel summed up."""
        return [
            exact_norm(math.sqrt(square), tensor, tensor.dtype)
            for square, tensor in zip(squares, tensors, strict=True)
        ]

    def _kernel(self, movers: Sequence[Mover]) -> Any:
        """Return the kernel for CPUs where all want it and there is one, else None."""
        if self._shared("norm_dtype") != "float32":
            return None
        for mover in movers:
            fused = mover.options["fused"]
            if not (fused or (fused is None and mover.options["foreach"] is None)):
                return None
        return _compiled_kernel()

    def _factors(self, norms: Sequence[Scalar], movers: Sequence[Mover]) -> list[Scalar | None]:
        """Return what clipping leaves of each gradient; None for all of it."""
        clip = self._shared("clip")
        if clip is None:
            return [None] * len(movers)
        factors: list[Scalar | None] = []
        for number, mover in enumerate(movers):
            norm = norms[number if len(norms) > 1 else 0]
            if isinstance(norm, Tensor):
                factors.append((clip / norm).clamp(max=1.0).to(mover.values.device))
            else:
                factors.append(clip / norm if norm > clip else None)
        return factors

    def _prepare(self, sample: Sample) -> None:
        """Do what must be done before the momentum changes."""

    def _take(
        self, sample: Sample, factors: Sequence[Sequence[Scalar | None]], *further: Sequence[Tensor]
    ) -> list[Scalar]:
        """Take the gradients into the momentum, and return its local norms."""
        movers, on_host = sample.movers, sample.on_host
        weights = self._weights(sample)
        if not on_host:
            for mover, weight, factor in zip(movers, weights, sample.factors, strict=True):
                average(mover.momentum, mover.gradient, weight, factor, sample.verdict(mover.values))
            return self._norms([mover.momentum for mover in movers], movers, on_host)
        if movers and self._foreach(movers[0], on_host) and self._alike(sample, weights):
            torch._foreach_lerp_(
                [mover.momentum for mover in movers], [mover.gradient for mover in movers], float(weights[0])
            )
            return self._norms([mover.momentum for mover in movers], movers, on_host)
        momenta, gradients = [one.momentum for one in movers], [one.gradient for one in movers]
        kernel = self._kernel(movers)
        if kernel is not None:
            scales = [1.0 if factor is None else factor for factor in sample.factors]
            squares = kernel.average_and_square(momenta, gradients, weights, scales)
            if squares is not None:
                return self._roots(squares, momenta)
        norms: list[Scalar] = [0.0] * len(movers)
        # From the last on, since it is the last gradients read that a cache still holds.
        for number in reversed(range(len(movers))):
            average(momenta[number], gradients[number], weights[number], sample.factors[number], None)
            (norms[number],) = self._norms([momenta[number]], [movers[number]], on_host)
        return norms

    @staticmethod
    def _alike(sample: Sample, weights: Sequence[Scalar]) -> bool:
        return len(set(weights)) == 1 and all(
            factor is None and mover.momentum.dtype == mover.gradient.dtype
            for mover, factor in zip(sample.movers, sample.factors, strict=True)
        )

    def _lengths(self, sample: Sample, norms: Sequence[Scalar]) -> list[Scalar]:
        """Return by what each momentum is multiplied: the learning rate over the norm, with its sign."""
        known: dict[object, Scalar] = {}
        lengths: list[Scalar] = []
        for number, mover in enumerate(sample.movers):
            position = number if len(norms) > 1 else 0
            # One object for all that move alike, so that they can be taken in one call.
            alike: tuple[object, ...] = (id(mover.options), position)
            if not sample.on_host:
                alike += (mover.values.device, arithmetic_dtype(mover.parameter))
            length = known.get(alike)
            if length is None:
                together = sample.movers if len(norms) == 1 else [mover]
                length = known[alike] = self._length(sample, mover, norms[position], together)
            lengths.append(length)
        return lengths

    def _length(self, sample: Sample, mover: Mover, norm: Scalar, together: Sequence[Mover]) -> Scalar:
        rate = mover.rate(sample.on_host)
        # Below it the momentum's own numbers vanish: its direction is rounding, and 1 / norm overflows.
        kept = torch.finfo(torch.promote_types(mover.momentum.dtype, torch.float32))
        least: float = kept.tiny / kept.eps
        if not isinstance(norm, Tensor):
            return rate / norm if norm > least else 0.0
        # Here nobody looks whether squares have vanished: where they may have, nothing moves either.
        wide = torch.promote_types(mover.momentum.dtype, getattr(torch, self._shared("norm_dtype")))
        least = max(least, least_norm(sum(one.momentum.numel() for one in together), wide))
        norm, finite = norm.to(mover.values.device), sample.verdict(mover.values)
        moves = norm > least if finite is None else (norm > least) & finite
        return torch.where(moves, rate / norm, torch.zeros_like(norm)).to(arithmetic_dtype(mover.parameter))

    def _move(self, sample: Sample, norms: Sequence[Scalar]) -> None:
        """Move the values along the momentum, and count the step."""
        movers = sample.movers
        lengths = self._lengths(sample, norms)
        for mover in movers:
            if mover.options["weight_decay"]:
                mover.values.mul_(self._kept(sample, mover))
        foreach = bool(movers) and self._foreach(movers[0], sample.on_host)
        foreach = foreach or (sample.on_host and self._kernel(movers) is not None)
        move_all([mover.values for mover in movers], [mover.momentum for mover in movers], lengths, foreach)
        self._count_steps(sample)

    @staticmethod
    def _kept(sample: Sample, mover: Mover) -> Scalar:
        kept, finite = mover.kept(mover.rate(sample.on_host)), sample.verdict(mover.values)
        if finite is None:
            return kept
        kept = torch.as_tensor(kept, dtype=arithmetic_dtype(mover.parameter), device=mover.values.device)
        return torch.where(finite, kept, torch.ones_like(kept))

    def _weights(self, sample: Sample) -> list[Scalar]:
        """Return what part of each new direction its gradient is."""
        if not sample.on_host:
            return [mover.weight(on_host=False) for mover in sample.movers]
        counts = self._common_counts(sample.movers)
        if counts is None:
            return [mover.weight(on_host=True) for mover in sample.movers]
        pairs = zip(sample.movers, counts.tolist(), strict=True)
        return [mover.mixing if count else 1.0 for mover, count in pairs]

    def _count_steps(self, sample: Sample) -> None:
        if sample.on_host:
            counts = self._common_counts(sample.movers)
            if counts is not None:
                counts.add_(1)
                return
        for mover in sample.movers:
            count, finite = mover.state["step"], sample.verdict(mover.values)
            count.add_(1 if finite is None else finite.to(count.dtype))

    def _common_counts(self, movers: Sequence[Mover]) -> Tensor | None:
        """Return the counts of steps as one tensor, of which those in the states are views.

        To read and to raise them one by one takes as long as a pass over a million weights. None where only
        some parameters take part.
        """
        if self._counts is None:
            self._counts = torch.stack([mover.state["step"] for mover in movers])
            for number, mover in enumerate(movers):
                mover.state["step"] = self._counts[number]
            self._counted = [id(mover.state["step"]) for mover in movers]
        same = self._counted == [id(mover.state["step"]) for mover in movers]
        return self._counts if same else None

    def _loaded(self) -> None:
        self._forget()


def _like(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """Zeros of a parameter's shape, strides, device and placement."""
    if is_sharded_type(parameter):
        return zeros_placed_like(parameter, local_part(parameter).shape, parameter.shape, dtype)
    return torch.zeros_like(parameter, dtype=dtype, memory_format=torch.preserve_format, requires_grad=False)


def _all_finite(norms: Sequence[Scalar]) -> bool | Tensor:
    tensors = [norm for norm in norms if isinstance(norm, Tensor)]
    if not tensors:
        return all(math.isfinite(norm) for norm in norms if not isinstance(norm, Tensor))
    return torch.stack([norm.isfinite().to(tensors[0].device) for norm in tensors]).all()


@cache
def _compiled_kernel() -> Any:
    """The kernel for CPUs, or None without numba."""
    if importlib.util.find_spec("numba") is None:
        return None
    return importlib.import_module("graftwork_optim_core.kernels.momentum_norm_numba")
