"""What the optimizers of this package promise alike: whole groups or none, counted skips, checked loading."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.common.loading import (
    Saved,
    State,
    check_fits,
    copy_loaded,
    load_checked,
    merged_groups,
)
from graftwork_optim_core.common.parameters import named_parameters
from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.common.state_bytes import StateBytes, counted_state_bytes


class CountingOptimizer(torch.optim.Optimizer):
    """Counts the steps that it does not make, and the bytes of its state."""

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self._skips: dict[torch.device, Tensor] = {}
        super().__init__(params, defaults)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_skips": self._skips}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_skips", {})

    def _shared(self, name: str) -> Any:
        return self.param_groups[0][name]

    def _count_skips(self, skips: Scalar, device: torch.device) -> None:
        if isinstance(skips, Tensor) or skips:
            former = self._skips.get(device)
            count = torch.as_tensor(skips, dtype=torch.int64, device=device)
            # In place, so that a captured step counts when it is replayed.
            self._skips[device] = count if former is None else former.add_(count)

    def nonfinite_skips(self) -> int:
        """Return how many steps were not made because a gradient or a loss was not finite; see the class.

        Counted since this object was made; waits for the device.
        """
        return sum(int(count) for count in self._skips.values())

    def state_bytes(self) -> StateBytes:
        """Return the bytes of this process's state, by storage; exact already before the first step."""
        return counted_state_bytes(self.param_groups, self.state)


class GradientOptimizer(CountingOptimizer):
    """Steps with the gradients in ``.grad``, and makes the state of a parameter when that is added."""

    closure: Literal["loss", "gradient"] | None = None

    @abstractmethod
    def check_options(self, options: Mapping[str, Any]) -> None:
        """Check a group's options.

        Raises:
            ValueError: one is out of its range; the message states the range and the value.
        """

    def _check_together(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Check what must be the same in all groups."""

    @abstractmethod
    def _fresh_state(self, name: str, parameter: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state of a parameter that has made no step."""

    @abstractmethod
    def _needed_by(self, parameter: Tensor, options: Mapping[str, Any]) -> object:
        """Return what asks for the shapes of a parameter's state, for messages."""

    @abstractmethod
    def _step_all(self) -> None:
        """Make the step of all parameters that have a gradient."""

    def _loaded(self) -> None:
        """Take note of groups and states that were loaded."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group and make its state; its parameters start at their own first step.

        Raises:
            ValueError: an option is out of range or not that of the other groups, a parameter is complex, or
                its sharding cuts what must lie in one process.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self.check_options(group)
            self._check_together(self.param_groups)
            # A frozen parameter gets its state if and when it gets a gradient.
            state = {
                parameter: self._fresh_state(name, parameter, group)
                for name, parameter in named_parameters(group, len(self.param_groups) - 1)
                if parameter.requires_grad
            }
        except Exception:
            self.param_groups.pop()
            raise
        self.state.update(state)

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
        self._step_all()
        return loss

    def load_state_dict(self, state_dict: Saved) -> None:
        """Load a state, keeping the averages' dtype, device and placement.

        As with any torch optimizer the saved options take the place of this one's, except ``state_dtype``.
        Parameters without a saved state begin anew.

        Raises:
            ValueError: an option is out of range or a saved tensor does not fit its parameter; nothing is
                changed.
        """
        load_checked(self, state_dict, super().load_state_dict, self._taken, self._loaded)

    def _taken(self, incoming: Saved) -> tuple[list[dict[str, Any]], State]:
        groups = merged_groups(self.param_groups, incoming["param_groups"])
        for group in groups:
            self.check_options(group)
        self._check_together(groups)
        states: State = {}
        for index, (own, group) in enumerate(zip(self.param_groups, groups, strict=True)):
            for (name, parameter), key in zip(named_parameters(own, index), group["params"], strict=True):
                saved = incoming["state"].get(key)
                if saved or parameter.requires_grad:
                    fresh = self._fresh_state(name, parameter, group)
                    if saved:
                        check_fits(name, saved, fresh, self._needed_by(parameter, group))
                        copy_loaded(saved, fresh)
                    states[parameter] = fresh
        return groups, states


def require_real(name: str, parameter: Tensor) -> None:
    """Raise a ``ValueError`` unless a parameter is of a real floating-point dtype."""
    if not parameter.is_floating_point():
        raise ValueError(
            f"parameter {name!r} must be of a real floating-point dtype, got {parameter.dtype}; "
            "of a complex weight optimize the real and the imaginary part as two parameters"
        )
