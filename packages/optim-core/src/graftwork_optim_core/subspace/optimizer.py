"""The optimizer in which an update host and a gradient transform meet.

One step of a weight W with gradient G, in order:

1. compress: ``A = transform(G)``; an inf or a NaN in G shows in A, and the weight makes no step.
2. accumulate: the host takes A into its averages; its direction is ``u = numerator / denominator``.
3. limit: ``q >= 1`` keeps the norm of u from growing by more than ``norm_growth_limit`` a step.
4. expand: ``U = transform.expand(G, A, direction)``; ``W <- W - lr * scale / q * U``.
5. decay: ``W <- W - lr * weight_decay * W``.

Only the norm in 3 needs the whole weight. Where rows of weights lie in several processes, a first pass
computes the squares of all norms on copies of the averages, one all-reduce adds them up, and a second pass
makes the step. The sum carries the verdict of 1 too, since a NaN in one process makes the sum NaN in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.subspace.batch import Batch, Weight
from graftwork_optim_core.subspace.hosts import UpdateHost
from graftwork_optim_core.subspace.options import check_common_options
from graftwork_optim_core.subspace.scalars import Scalar
from graftwork_optim_core.subspace.sharding import (
    check_sharding,
    local_part,
    sharding_groups,
    sum_over_groups,
)
from graftwork_optim_core.subspace.state import (
    check_loaded,
    copy_loaded,
    fresh_state,
    is_limited,
    reads_scalars,
)
from graftwork_optim_core.subspace.state_bytes import StateBytes, counted_state_bytes
from graftwork_optim_core.subspace.step import local_squares, make_step
from graftwork_optim_core.subspace.transform import GradientTransform


class SubspaceOptimizer(torch.optim.Optimizer):
    """An optimizer whose averages live in the coarse space of a gradient transform.

    A front like :class:`~graftwork_optim_core.GWTAdamW` names the host and makes the transform. All state is
    made when a parameter is added, so that taking the state dict of a fresh optimizer runs no step.

    Args:
        params: as for any ``torch.optim.Optimizer``; named parameters let messages name them.
        defaults: ``lr``, ``betas``, ``eps``, ``weight_decay``, ``scale``, ``norm_growth_limit``,
            ``state_dtype``, ``maximize``, ``foreach``, ``capturable`` and the options of the transform.
    """

    closure: Literal["loss", "gradient"] | None = None
    update_host: ClassVar[UpdateHost]

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.check_options(defaults)
        self._skips: dict[torch.device, Tensor] = {}
        super().__init__(params, defaults)

    def transform_of(self, parameter: Tensor, options: Mapping[str, Any]) -> GradientTransform:
        """Return the gradient transform of a parameter in a group with these options."""
        raise NotImplementedError(f"{type(self).__name__} must define transform_of")

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Check a group's options; a front adds those of its transform.

        Raises:
            ValueError: one is out of its range; the message states the range and the value.
        """
        check_common_options(options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group and make its state; its parameters start at their own first step.

        Raises:
            ValueError: an option is out of range, a parameter is complex, or a sharding cuts blocks of
                columns.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self.check_options(group)
            # A frozen parameter gets its state if and when it gets a gradient.
            state = {
                parameter: self._fresh_state(name, parameter, group)
                for name, parameter in _named(group, len(self.param_groups) - 1)
                if parameter.requires_grad
            }
        except ValueError:
            self.param_groups.pop()
            raise
        self.state.update(state)

    def _fresh_state(self, name: str, parameter: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
        if not parameter.is_floating_point():
            raise ValueError(
                f"parameter {name!r} must be of a real floating-point dtype, got {parameter.dtype}; "
                "of a complex weight optimize the real and the imaginary part as two parameters"
            )
        transform = self.transform_of(parameter, options)
        check_sharding(name, parameter, transform.column_block)
        return fresh_state(name, parameter, options, transform, self.update_host.average_names)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_skips", {})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one step with the gradients in ``.grad``.

        Args:
            closure: evaluates the model again and returns the loss; called once, with gradients enabled.

        Returns:
            The closure's loss, or None.

        Raises:
            ValueError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        batches = list(self._batches())
        totals = self._sum_over_shards(batches)
        for batch in batches:
            known = [totals[weight.parameter] for weight in batch.weights if weight.parameter in totals]
            self._count_skips(
                make_step(batch, self.update_host, known or None), batch.weights[0].values.device
            )
        return loss

    def _batches(self) -> Iterator[Batch]:
        for index, group in enumerate(self.param_groups):
            alike: dict[object, Batch] = {}
            for name, parameter in _named(group, index):
                gradient = parameter.grad
                if gradient is None or parameter.numel() == 0:
                    continue
                if gradient.layout != torch.strided:
                    raise ValueError(
                        f"parameter {name!r} has a gradient of layout {gradient.layout}, which "
                        f"{type(self).__name__} does not take; make it dense (sparse=False in nn.Embedding)"
                    )
                if not self.state[parameter]:
                    self.state[parameter] = self._fresh_state(name, parameter, group)
                batch = self._batch_of(parameter, gradient, group)
                if not batch.together:
                    yield batch
                    continue
                sums = tuple(map(id, sharding_groups(parameter)))
                key = (batch.weights[0].values.device, parameter.dtype, parameter.ndim == 0, sums)
                if key in alike:
                    alike[key].weights.extend(batch.weights)
                else:
                    alike[key] = batch
            yield from alike.values()

    def _batch_of(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Batch:
        on_host = reads_scalars(parameter, group)
        return Batch(
            [Weight.of(parameter, gradient, self.state[parameter], self.update_host.average_names)],
            group,
            self.transform_of(parameter, group),
            reads_scalars=on_host,
            scale=group["scale"] if parameter.ndim else 1.0,
            limited=is_limited(parameter, group),
            together=not on_host if group["foreach"] is None else bool(group["foreach"]),
        )

    def _sum_over_shards(self, batches: list[Batch]) -> dict[Tensor, Tensor]:
        """Return every sharded parameter's squared norm of its direction, NaN where it must be skipped."""
        sharded: dict[tuple[Any, ...], list[Tensor]] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                if groups := sharding_groups(parameter):
                    sharded.setdefault(groups, []).append(parameter)
        totals: dict[Tensor, Tensor] = {}
        if not sharded:
            return totals
        local: dict[Tensor, Tensor] = {}
        for batch in batches:
            if sharding_groups(batch.weights[0].parameter):
                squares = local_squares(batch, self.update_host)
                local.update(zip((weight.parameter for weight in batch.weights), squares, strict=True))
        for groups, parameters in sharded.items():
            # A number for every parameter, with a gradient here or not: the processes' sums must line up.
            zero = torch.zeros((), dtype=torch.float64, device=local_part(parameters[0]).device)
            sums = sum_over_groups([local.get(parameter, zero) for parameter in parameters], groups)
            totals.update(zip(parameters, sums, strict=True))
        return totals

    def _count_skips(self, skips: Scalar, device: torch.device) -> None:
        if isinstance(skips, Tensor) or skips:
            former = self._skips.get(device)
            count = torch.as_tensor(skips, dtype=torch.int64, device=device)
            # In place, so that a captured step counts when it is replayed.
            self._skips[device] = count if former is None else former.add_(count)

    def nonfinite_skips(self) -> int:
        """Return how many times a weight made no step because its gradient was not finite.

        Counted since this object was made; waits for the device.
        """
        return sum(int(count) for count in self._skips.values())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, keeping the averages' dtype, device and placement.

        As with any torch optimizer the saved options take the place of this one's, except ``state_dtype``.
        Weights without a saved state begin anew.

        Raises:
            ValueError: an option is out of range or a saved tensor does not fit its parameter; nothing is
                changed.
        """
        fresh: dict[Tensor, dict[str, Any]] = {}

        def take_state(_: torch.optim.Optimizer, incoming: dict[str, Any]) -> dict[str, Any]:
            incoming = {**incoming, "param_groups": self._merged_groups(incoming["param_groups"])}
            fresh.update(self._loaded_state(incoming))
            return {**incoming, "state": {}}

        def put_state(_: torch.optim.Optimizer) -> None:
            self.state.update(fresh)

        # The base class would cast the averages to the parameters' dtype. Its own hooks take them out of its
        # hands: last before it loads and first afterwards, so that hooks of others see what they would see
        # anyway.
        before = self.register_load_state_dict_pre_hook(take_state)
        after = self.register_load_state_dict_post_hook(put_state, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _merged_groups(self, saved: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(saved) != len(self.param_groups):
            raise ValueError(
                f"the saved state has {len(saved)} parameter groups, this has {len(self.param_groups)}"
            )
        merged = []
        for index, (own, group) in enumerate(zip(self.param_groups, saved, strict=True)):
            if len(own["params"]) != len(group["params"]):
                raise ValueError(
                    f"parameter group {index} has {len(own['params'])} parameters, "
                    f"the saved one {len(group['params'])}"
                )
            options = {**{key: value for key, value in own.items() if key != "params"}, **group}
            options["state_dtype"] = own["state_dtype"]
            self.check_options(options)
            merged.append(options)
        return merged

    def _loaded_state(self, incoming: dict[str, Any]) -> dict[Tensor, dict[str, Any]]:
        loaded: dict[Tensor, dict[str, Any]] = {}
        for index, (own, group) in enumerate(zip(self.param_groups, incoming["param_groups"], strict=True)):
            for (name, parameter), key in zip(_named(own, index), group["params"], strict=True):
                saved = incoming["state"].get(key)
                if saved or parameter.requires_grad:
                    fresh = self._fresh_state(name, parameter, group)
                    if saved:
                        check_loaded(name, saved, fresh, self.transform_of(parameter, group))
                        copy_loaded(saved, fresh)
                    loaded[parameter] = fresh
        return loaded

    def state_bytes(self) -> StateBytes:
        """Return the bytes of this process's state, by storage; exact already before the first step."""
        return counted_state_bytes(self.param_groups, self.state)

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


def _named(group: Mapping[str, Any], index: int) -> list[tuple[str, Tensor]]:
    """Return a group's parameters with their names, or with their places where they have none."""
    parameters = group["params"]
    names = group.get("param_names") or [
        f"group {index}, parameter {place}" for place in range(len(parameters))
    ]
    return list(zip(names, parameters, strict=True))
