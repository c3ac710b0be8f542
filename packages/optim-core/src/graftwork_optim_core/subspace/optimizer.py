"""The optimizer in which an update host and a gradient transform meet.

One step of a weight W with gradient G, in order:

1. refresh: a transform that learns its coordinates may take new ones from G.
2. compress: ``A = transform(G)``; an inf or a NaN in G shows in A, and the weight makes no step.
3. accumulate: the host takes A into its averages; its direction is ``u = numerator / denominator``.
4. limit: ``q >= 1`` keeps the norm of u from growing by more than ``norm_growth_limit`` a step.
5. expand: ``U = transform.expand(G, A, direction)``; ``W <- W - lr * scale / q * U``.
6. decay: ``W <- W - lr * weight_decay * W``.

Only the norm in 4 needs the whole weight. Where rows of weights lie in several processes, a first pass
computes the squares of all norms on copies of the averages, one all-reduce adds them up, and a second pass
makes the step. The sum carries the verdict of 2 too, since a NaN in one process makes the sum NaN in all.

Longer than other files here: what torch.optim.Optimizer promises is kept by one class.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.common.optimizer import GradientOptimizer, require_real
from graftwork_optim_core.common.parameters import matrix_shape, named_parameters, parameter_positions
from graftwork_optim_core.common.ranges import (
    is_number,
    require,
    require_not_negative,
    require_one_of,
    require_positive,
    require_rate,
)
from graftwork_optim_core.common.sharding import check_sharding
from graftwork_optim_core.subspace.batching import (
    PlannedParameter,
    batches_of,
    planned_parameters,
    refresh_due,
    sum_over_shards,
)
from graftwork_optim_core.subspace.fused import step_fused
from graftwork_optim_core.subspace.in_backward import StepInBackward
from graftwork_optim_core.subspace.pairing import HOSTS, TRANSFORMS, known_options, option_defaults
from graftwork_optim_core.subspace.plan import GroupPlans, Plan
from graftwork_optim_core.subspace.remarks import remarks_on
from graftwork_optim_core.subspace.selection import param_groups
from graftwork_optim_core.subspace.stacked import step_stacked
from graftwork_optim_core.subspace.state import fresh_state, state_bytes_of, state_keys
from graftwork_optim_core.subspace.step import make_step, refresh


class SubspaceOptimizer(GradientOptimizer):
    """Any update host in the coarse space of any gradient transform, both by their registered names.

    The named fronts (:class:`~graftwork_optim_core.GWTAdamW`, :class:`~graftwork_optim_core.GaLoreAdamW`,
    ...) are this class with published defaults. A parameter group may set every option for itself, another
    host or transform too; ``plain=True`` makes it the host's own step without transform, scale and limiter.
    All state is made when a parameter is added, so that taking the state dict of a fresh optimizer runs no
    step.

    A weight whose gradient holds an inf or a NaN, or is so large that its squared norm overflows, makes no
    step and keeps its state; :meth:`nonfinite_skips` counts such weights.

    Args:
        params: parameters, named parameters or groups of either.
        lr: learning rate, 0 or more; a tensor of one element is read at every step.
        host: a registered ``optimizer-host``.
        transform: a registered ``gradient-transform``.
        host_options: of the host, by the names of its signature.
        transform_options: of the transform, likewise.
        plain_host: the host of plain groups and of parameters with too few dimensions; none for the same.
        plain_host_options: of that one.
        scale: multiplies the update of a transformed weight, greater than 0.
        weight_decay: decoupled decay per unit of ``lr``, 0 or more, applied after the update.
        norm_growth_limit: by what factor a direction's norm may grow from step to step, 1 or more; none lifts
            the limit.
        state_dtype: of the averages: "param" for the weight's own, "float32" or "bfloat16". The arithmetic is
            float32 whatever it is, float64 for float64 weights.
        plain: make the plain host's step.
        maximize: climb instead of descend.
        foreach: take all weights of a group in one batch, which saves calls and costs memory for their coarse
            gradients; none means on accelerators, and for small weights on a CPU.
        capturable: keep every scalar on the device, so that a step can be captured in a CUDA graph. Off a CPU
            no step waits for the device in either case.
        fused: let a kernel make the whole step of a weight where there is one: Adam in the Haar basis, on
            CUDA by Triton, on a CPU by Numba if it is installed; none means where foreach is none too.
        stochastic_rounding: round bfloat16 weights up or down at random so that small updates are kept on
            average; the numbers follow from the step and the parameter's position: runs resume exactly.

    Raises:
        ValueError: an option is unknown or out of its range, a parameter is complex, or a sharding cuts what
            must lie in one process.
        GraftworkError: no such host or transform.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.zeros(8, 32))
    >>> optimizer = SubspaceOptimizer([weight], host="msgd", transform="svd", transform_options={"rank": 2})
    >>> optimizer.state[weight]["momentum_buffer"].shape
    torch.Size([2, 32])
    """

    select_parameters = staticmethod(param_groups)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        *,
        host: str = "adamw",
        transform: str = "wavelet",
        host_options: Mapping[str, Any] | None = None,
        transform_options: Mapping[str, Any] | None = None,
        plain_host: str | None = None,
        plain_host_options: Mapping[str, Any] | None = None,
        scale: float = 1.0,
        weight_decay: float = 0.0,
        norm_growth_limit: float | None = None,
        state_dtype: Literal["param", "float32", "bfloat16"] = "param",
        plain: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        fused: bool | None = None,
        stochastic_rounding: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "host": host,
            "transform": transform,
            "plain_host": plain_host,
            "scale": scale,
            "weight_decay": weight_decay,
            "norm_growth_limit": norm_growth_limit,
            "state_dtype": state_dtype,
            "plain": plain,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "fused": fused,
            "stochastic_rounding": stochastic_rounding,
        }
        common = tuple(defaults)
        for kind, name, given in (
            (TRANSFORMS, transform, transform_options),
            (HOSTS, plain_host or host, plain_host_options),
            (HOSTS, host, host_options),
        ):
            defaults |= known_options(kind, name, given or {}, common)
        self._in_backward: StepInBackward | None = None
        self._followed_in_backward = False
        self._positions: dict[Tensor, tuple[int, str, int]] = {}
        self._all_added = False
        self.check_options(defaults)
        super().__init__(params, defaults)
        self._all_added = True
        # Who made it is told, which a front of this class is not.
        fronted = type(self) is not SubspaceOptimizer
        self._remark_on(range(len(self.param_groups)), stacklevel=4 if fronted else 3)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Check a group's options.

        Raises:
            ValueError: one is out of its range; the message states the range and the value.
        """
        require_rate(options["lr"])
        require_not_negative("weight_decay", options["weight_decay"])
        require_positive("scale", options["scale"])
        limit = options["norm_growth_limit"]
        require(
            limit is None or (is_number(limit) and limit >= 1),
            "norm_growth_limit",
            "None or 1 or more",
            limit,
        )
        require_one_of("state_dtype", options["state_dtype"], ("param", "float32", "bfloat16"))
        plans = GroupPlans.of(options)
        if options["capturable"] and plans.transformed.transform.counts_calls and not options["plain"]:
            raise ValueError(
                f"capturable must be False with the transform {options['transform']!r}: when to refresh its "
                "basis is decided by the host, which a captured step does not ask"
            )

    def _known_options(self, group: Mapping[str, Any]) -> Collection[str]:
        known = set(self.defaults)
        for kind, key in ((HOSTS, "host"), (HOSTS, "plain_host"), (TRANSFORMS, "transform")):
            name = group.get(key, self.defaults[key])
            if name is not None:
                known |= option_defaults(kind, name).keys()
        return known

    def _fixed_options(self, group: Mapping[str, Any]) -> Collection[str]:
        coordinates = GroupPlans.of(group).transformed.transform.coordinates
        return {"host", "plain_host", "transform", "plain", *coordinates}

    def _state_keys(self, group: Mapping[str, Any]) -> Callable[[Tensor], Collection[str]]:
        plans = GroupPlans.of(group)
        known: dict[tuple[bool, tuple[int, int]], Collection[str]] = {}

        def keys_of(parameter: Tensor) -> Collection[str]:
            alike = (plans.lacks_dimensions(parameter), matrix_shape(parameter))
            if alike not in known:
                known[alike] = state_keys(parameter, plans.plan_of(parameter))
            return known[alike]

        return keys_of

    def plan_of(self, parameter: Tensor, options: Mapping[str, Any]) -> Plan:
        """Return how a parameter is updated in a group with these options."""
        return GroupPlans.of(options).plan_of(parameter)

    def rate_of(self, parameter: Tensor, options: Mapping[str, Any]) -> float:
        """Return what multiplies a parameter's direction: ``lr``, and ``scale`` unless its step is plain."""
        return float(options["lr"]) * self.plan_of(parameter, options).scale

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group and make its state; its parameters start at their own first step.

        Raises:
            ValueError: an option is out of range, a parameter is complex, or a sharding cuts what must lie in
                one process.
        """
        super().add_param_group(self._with_own_defaults(param_group))
        self._positions = {}
        group = self.param_groups[-1]
        if self._in_backward is not None:
            self._in_backward.attach(group["params"])
        if self._all_added:
            self._remark_on([len(self.param_groups) - 1], stacklevel=3)

    def _remark_on(self, indices: Iterable[int], stacklevel: int) -> None:
        groups = [
            (self.param_groups[index], named_parameters(self.param_groups[index], index)) for index in indices
        ]
        for remark in remarks_on(groups, self.predicted_state_bytes):
            warnings.warn(remark, stacklevel=stacklevel)

    def _with_own_defaults(self, group: dict[str, Any]) -> dict[str, Any]:
        """Give a group that names another host or transform that one's defaults, not this optimizer's."""
        group = dict(group)
        for kind, key in ((HOSTS, "host"), (HOSTS, "plain_host"), (TRANSFORMS, "transform")):
            name = group.get(key)
            if name is not None and name != self.defaults[key]:
                for option, default in option_defaults(kind, name).items():
                    group.setdefault(option, default)
        return group

    def _fresh_state(self, name: str, parameter: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
        require_real(name, parameter)
        plan = self.plan_of(parameter, options)
        check_sharding(name, parameter, plan.column_block(parameter))
        return fresh_state(name, parameter, options, plan)

    def _needed_by(self, parameter: Tensor, options: Mapping[str, Any]) -> object:
        return self.plan_of(parameter, options).transform

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_in_backward", None)
        self._followed_in_backward = False
        self._all_added = True
        self._positions = {}

    def _step_all(self) -> None:
        if self._in_backward is not None:
            self._in_backward.finish(self._parameters())
        self._step_on(self._planned())
        if self._in_backward is not None:
            self.zero_grad()
            self._followed_in_backward = False

    @torch.no_grad()
    def step_parameter(self, parameter: Tensor) -> None:
        """Make the step of one parameter alone, with the gradient in its ``.grad``.

        Raises:
            ValueError: it is none of this optimizer's parameters, or its gradient is sparse.
        """
        if not self._followed_in_backward:
            self._follow_groups()
            # Once for all weights of a pass, up to the next step().
            self._followed_in_backward = self._in_backward is not None
        if not self._positions:
            self._positions = parameter_positions(self.param_groups)
        if parameter in self._positions:
            number, name, index = self._positions[parameter]
            options = self.param_groups[number]
            plan = GroupPlans.of(options).plan_of(parameter)
            self._step_on([PlannedParameter(name, parameter, index, options, plan)])
            return
        raise ValueError(f"{type(self).__name__} has no such parameter, of shape {tuple(parameter.shape)}")

    def step_in_backward(self, micro_batches: int = 1, max_norm_each: float | None = None) -> StepInBackward:
        """Let each weight step within the backward pass and free its gradient as soon as it is complete.

        Call ``step()`` after the backward passes as always: it steps what is left (a weight that took part in
        only some of them), and is what learning-rate schedulers count. Everything else stays as it is, state
        and checkpoints too. Gradients cannot be clipped by their global norm, which nobody knows before the
        last one is complete; clip each by its own. Of a module wrapped in ``DistributedDataParallel`` the
        gradients would not have been averaged yet; ``fully_shard`` is right.

        Args:
            micro_batches: backward passes whose gradients one step sums, 1 or more.
            max_norm_each: clip each weight's gradient to this norm; none clips nothing.

        Returns:
            A handle, whose ``remove()`` undoes it.

        Raises:
            ValueError: an option is out of its range, or it was called already.

        >>> weight = torch.nn.Parameter(torch.ones(2, 4))
        >>> optimizer = SubspaceOptimizer([weight], lr=0.1, transform="identity")
        >>> handle = optimizer.step_in_backward()
        >>> weight.sum().backward()
        >>> weight.grad is None, bool((weight < 1).all())
        (True, True)
        """
        if self._in_backward is not None:
            raise ValueError(
                "step_in_backward must be called once; remove() the handle before it is called anew"
            )
        self._in_backward = StepInBackward(
            self._parameters(),
            self.step_parameter,
            self._leave_backward,
            micro_batches=micro_batches,
            max_norm_each=max_norm_each,
        )
        return self._in_backward

    def _leave_backward(self, handle: StepInBackward) -> None:
        if self._in_backward is handle:
            self._in_backward, self._followed_in_backward = None, False

    def _parameters(self) -> Iterator[Tensor]:
        return (parameter for group in self.param_groups for parameter in group["params"])

    def _planned(self) -> list[PlannedParameter]:
        return list(planned_parameters(self.param_groups))

    def _step_on(self, chosen: list[PlannedParameter]) -> None:
        for planned in chosen:
            gradient = planned.parameter.grad
            if gradient is not None and gradient.layout != torch.strided:
                raise ValueError(
                    f"parameter {planned.name!r} has a gradient of layout {gradient.layout}, which "
                    f"{type(self).__name__} does not take; make it dense (sparse=False in nn.Embedding)"
                )
            if gradient is not None and not self.state[planned.parameter]:
                self.state[planned.parameter] = self._made_state(
                    planned.name, planned.parameter, planned.options
                )
        batches = list(batches_of(chosen, self.state))
        for batch in batches:
            refresh(batch)
        totals = sum_over_shards(batches, chosen)
        for batch in batches:
            known = [totals[weight.parameter] for weight in batch.weights if weight.parameter in totals]
            if batch.mode == "fused":
                skips = step_fused(batch, known or None)
            else:
                skips = step_stacked(batch) if batch.mode == "stacked" else make_step(batch, known or None)
            self._count_skips(skips, batch.weights[0].values.device)

    def predicted_state_bytes(self, parameter: Tensor, options: Mapping[str, Any], name: str = "") -> int:
        """Return the bytes of state that a parameter would have in a group with these options.

        Args:
            parameter: on any device, the meta device too.
            options: as in ``param_groups``.
            name: the parameter's, for messages.
        """
        return state_bytes_of(name, parameter, options, self.plan_of(parameter, options))

    def refresh_due(self) -> bool:
        """Whether the next step takes new bases from its gradients.

        A trainer may then accumulate more micro-batches into ``.grad`` before it steps: the basis, and that
        one step, are of the larger batch (arXiv:2410.11289, large-batch GaLore).
        """
        return refresh_due(self._planned(), self.state)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for index, group in enumerate(self.param_groups):
            count = sum(parameter.numel() for parameter in group["params"])
            lines.append(f"  group {index}: {len(group['params'])} tensors, {count:,} parameters")
            lines += [
                f"    {key}: {value}"
                for key, value in sorted(group.items())
                if key not in ("params", "param_names")
            ]
        return "\n".join([*lines, ")"])
