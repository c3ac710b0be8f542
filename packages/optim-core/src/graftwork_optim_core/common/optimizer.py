"""What the optimizers of this package promise alike: whole groups or none, counted skips, checked loading."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Literal, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from graftwork_optim_core.common.groups import FollowedGroups, refuse_unknown
from graftwork_optim_core.common.loading import (
    Saved,
    State,
    check_fits,
    copy_loaded,
    load_checked,
    merged_groups,
)
from graftwork_optim_core.common.parameters import named_parameters
from graftwork_optim_core.common.ranges import require_rate
from graftwork_optim_core.common.scalars import Scalar
from graftwork_optim_core.common.state_bytes import StateBytes, counted_state_bytes


class CountingOptimizer(torch.optim.Optimizer):
    """Follows the options of its groups, counts the steps that it does not make and the bytes of its state.

    Options are read at every step. One that was changed since the last is checked as if it had been given at
    first, and state that it needs is made: an average that is switched on begins at zero, one that is
    switched off is dropped. So is a weight followed that has another dtype or device by now. What cannot
    change any more is refused.
    """

    own_notes: ClassVar[tuple[str, ...]] = ()
    """Keys of groups that are this optimizer's own and nobody's options."""

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self._skips: dict[torch.device, Tensor] = {}
        self._followed = FollowedGroups()
        self._made_for: dict[Tensor, tuple[torch.dtype, torch.device]] = {}
        self._members: list[int] = []
        super().__init__(params, defaults)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_skips": self._skips, "_made_for": self._made_for}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_skips", {})
        self.__dict__.setdefault("_made_for", {})
        self._members = []
        self._followed = FollowedGroups()
        self._followed.remember(self.param_groups)

    @abstractmethod
    def check_options(self, options: Mapping[str, Any]) -> None:
        """Check a group's options.

        Raises:
            ValueError: one is out of its range; the message states the range and the value.
        """

    def _check_together(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Check what must be the same in all groups."""

    def _known_options(self, group: Mapping[str, Any]) -> Collection[str]:
        """Return the options that a group may set."""
        return self.defaults.keys()

    def _fixed_options(self, group: Mapping[str, Any]) -> Collection[str]:
        """Return the options that cannot change once there is state."""
        return ()

    @abstractmethod
    def _fit_states(self, changes: Mapping[int, Collection[str]]) -> None:
        """Make the states such as the options of groups that have changed, and all weights, ask for."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters.

        Raises:
            ValueError: a key of the group is no option.
        """
        if isinstance(param_group, dict):
            self._refuse_unknown(param_group, param_group)
        super().add_param_group(param_group)

    def _refuse_unknown(self, keys: Collection[str], group: Mapping[str, Any]) -> None:
        known = [key for key in self._known_options(group) if key not in self.own_notes]
        refuse_unknown((key for key in keys if key not in self.own_notes), known, type(self).__name__)

    def _follow_groups(self) -> None:
        """Check options that were changed since the last step, and make the states follow.

        Raises:
            ValueError: an option is unknown, out of its range, or can no longer change.
        """
        if torch.compiler.is_compiling():
            return
        changes = self._followed.changes(self.param_groups)
        for index, group in enumerate(self.param_groups):
            if changes.get(index) == {"lr"} and "lr" in group:  # as schedulers do at every step
                require_rate(group["lr"])
            elif index in changes:
                self._check_changes(index, group, changes[index])
            elif isinstance(group["lr"], Tensor) and group["lr"].device.type == "cpu":
                # It may have been written into; to look at one on an accelerator would be to wait for it.
                require_rate(group["lr"])
        if changes:
            self._check_together(self.param_groups)
        if any(changed != {"lr"} for changed in changes.values()) or self._weights_were_cast():
            self._fit_states(changes)
        if changes:
            self._followed.remember(self.param_groups)

    def _check_changes(self, index: int, group: Mapping[str, Any], changed: set[str]) -> None:
        before = self._followed.before(group)
        gone = sorted(key for key in changed if key in self.defaults and key not in group)
        if gone:
            raise ValueError(f"parameter group {index} must have the option {gone[0]!r}, which was deleted")
        self._refuse_unknown([key for key in changed if key not in before], group)
        for key in sorted(changed.intersection(self._fixed_options(before))):
            raise ValueError(
                f"{key} of parameter group {index} must stay {before[key]!r}, for which its state was made, "
                f"got {group[key]!r}; make a new optimizer to change it"
            )
        lr = group["lr"]
        # One on an accelerator is waited for when it is new, and not whenever something else has changed.
        known = isinstance(lr, Tensor) and lr.device.type != "cpu" and "lr" not in changed
        self.check_options({**group, "lr": 0.0} if known else group)

    def _weights_were_cast(self) -> bool:
        """Whether a weight has another dtype or device than when its state was made."""
        self._forget_replaced()
        return any(
            parameter.dtype is not dtype or parameter.device != device
            for parameter, (dtype, device) in self._made_for.items()
        )

    def _forget_replaced(self) -> None:
        """Let go of weights that are in no group any more."""
        # No weak references, which would keep model.to() from swapping tensors. Ids, which are quick, are
        # not given again while the weights that had them are held here.
        members = [id(parameter) for group in self.param_groups for parameter in group["params"]]
        if members != self._members:
            self._members, present = members, set(members)
            self._made_for = {one: made for one, made in self._made_for.items() if id(one) in present}

    def _note_made(self, parameter: Tensor) -> None:
        self._made_for[parameter] = (parameter.dtype, parameter.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the state, such as the present options ask for.

        What a step would refuse is saved as it is, and state of weights that were cast since the last step
        stays what it was: a model may be cast to be exported, and cast back.
        """
        if not self._weights_were_cast():
            with suppress(ValueError):
                self._follow_groups()
        state: dict[str, Any] = super().state_dict()
        return state

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

    def _state_keys(self, group: Mapping[str, Any]) -> Callable[[Tensor], Collection[str]] | None:
        """Return what names the entries of a parameter's state; None where options do not change them."""
        return None

    def _remade(self) -> None:
        """Take note of states that were made anew, with the values that they had."""

    def _fit_states(self, changes: Mapping[int, Collection[str]]) -> None:
        remade = False
        for index, group in enumerate(self.param_groups):
            changed = changes.get(index, ())
            keys_of = self._state_keys(group) if changed else None
            relaid = "state_dtype" in changed or "capturable" in changed
            for name, parameter in named_parameters(group, index):
                held = self.state.get(parameter)
                if not held:
                    continue
                cast = self._made_for.get(parameter) != (parameter.dtype, parameter.device)
                if cast or relaid or (keys_of is not None and held.keys() != set(keys_of(parameter))):
                    fresh = self._made_state(name, parameter, group)
                    known = {key: held.get(key, value) for key, value in fresh.items()}
                    self.state[parameter] = copy_loaded(known, fresh)
                    remade = True
        if remade:
            self._remade()

    def _made_state(self, name: str, parameter: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a fresh state, and remember what it was made for."""
        state = self._fresh_state(name, parameter, options)
        self._note_made(parameter)
        return state

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
                parameter: self._made_state(name, parameter, group)
                for name, parameter in named_parameters(group, len(self.param_groups) - 1)
                if parameter.requires_grad
            }
        except Exception:
            self.param_groups.pop()
            raise
        self.state.update(state)
        self._followed.remember(self.param_groups)

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
        self._follow_groups()
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
        load_checked(self, state_dict, super().load_state_dict, self._taken, self._note_loaded)

    def _note_loaded(self) -> None:
        self._made_for = {}
        for parameter in self.state:
            self._note_made(parameter)
        self._loaded()

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
        # Last: a state of another optimizer is told as that, and not as its first unknown option.
        for group in groups:
            self._refuse_unknown(group, group)
        return groups, states


def require_real(name: str, parameter: Tensor) -> None:
    """Raise a ``ValueError`` unless a parameter is of a real floating-point dtype."""
    if not parameter.is_floating_point():
        raise ValueError(
            f"parameter {name!r} must be of a real floating-point dtype, got {parameter.dtype}; "
            "of a complex weight optimize the real and the imaginary part as two parameters"
        )
