"""A Trainer whose optimizer is chosen by name, from everything that is registered with Graftwork."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import Trainer

from graftwork import Choice, GraftworkError, Kind, choose
from graftwork.weight_decay import split_by_decay


class GraftworkTrainer(Trainer):
    """Hugging Face's Trainer with an optimizer from Graftwork's registry.

    Everything else is the Trainer's own: its arguments, schedule, checkpoints and processes. To give another
    Trainer the same, put this class in front: ``class MyTrainer(GraftworkTrainer, SFTTrainer): pass``.

    The optimizer's ``select_parameters`` makes the groups where it has one, and within each Graftwork's rule
    of weight decay holds: biases, the scales of norms and all of fewer than two dimensions do not decay.

    Args:
        *args: as for the Trainer.
        optimizer: a registered name, ``graftwork list optimizer`` shows all.
        optimizer_options: options of the optimizer and of its ``select_parameters``, as
            ``graftwork info optimizer/NAME`` explains them. Left open, ``lr`` and ``weight_decay`` are those
            of the TrainingArguments and ``total_steps`` is the Trainer's.
        **kwargs: as for the Trainer.

    Raises:
        GraftworkError: the name is unknown, an option is wrong, the optimizer needs a closure, or a second
            optimizer is asked for. What only the weights can tell is raised when training starts.
    """

    def __init__(
        self,
        *args: Any,
        optimizer: str,
        optimizer_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._optimizer_name = optimizer
        self._optimizer_options = dict(optimizer_options or {})
        self._total_steps: int | None = None
        super().__init__(*args, **kwargs)
        self._refuse_a_second_optimizer()
        # Once more when the optimizer is made: a search over hyperparameters changes the arguments.
        self._chosen_optimizer()

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Make both, as the Trainer does."""
        # Before transformers 5 the Trainer knows the number of steps here and nowhere else.
        self._total_steps = num_training_steps
        super().create_optimizer_and_scheduler(num_training_steps)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Make the optimizer, if there is none yet.

        Raises:
            GraftworkError: the optimizer refuses an option or selects no weight of the model, or its state
                would not survive that FSDP or DeepSpeed shards the weights.
        """
        if self.optimizer is None:
            whole_model = self.model if model is None else model
            assert whole_model is not None
            optimizer = self._build(self._chosen_optimizer(), whole_model)
            self._refuse_stale_state(optimizer)
            self.optimizer = optimizer
        return self.optimizer

    def _chosen_optimizer(self) -> Choice:
        choice = choose(
            Kind.OPTIMIZER,
            self._optimizer_name,
            self._optimizer_options,
            defaults=self._known_to_the_trainer(),
        )
        closure = getattr(choice.target, "closure", None)
        if closure is not None:
            raise GraftworkError(
                f"optimizer/{choice.name} calls for the {closure} within its step, and the Trainer has it "
                "only before: choose one whose step needs no closure"
            )
        return choice

    def _known_to_the_trainer(self) -> dict[str, Any]:
        known = {"lr": self.args.learning_rate, "weight_decay": self.args.weight_decay}
        total_steps = self._total_steps or self.state.max_steps or self.args.max_steps
        return known | ({"total_steps": total_steps} if total_steps > 0 else {})

    def _build(self, choice: Choice, model: nn.Module) -> torch.optim.Optimizer:
        groups = choice.parameters_of(model)
        if "weight_decay" in choice.options:
            # Where it is 0 too, as the Trainer does it: its checkpoints have these groups.
            listed = groups if groups and isinstance(groups[0], Mapping) else [{"params": groups}]
            groups = split_by_decay(listed, model)
        optimizer: torch.optim.Optimizer = choice(groups)
        return optimizer

    def _refuse_a_second_optimizer(self) -> None:
        if self.optimizer is not None or self.optimizer_cls_and_kwargs is not None:
            raise GraftworkError(
                f"optimizer={self._optimizer_name!r} is one optimizer, and `optimizers` or "
                "`optimizer_cls_and_kwargs` brings another: give one of them"
            )
        for argument in ("optim_args", "optim_target_modules"):
            if getattr(self.args, argument):
                raise GraftworkError(
                    f"TrainingArguments.{argument} is for the optimizers that transformers brings: options "
                    f"of {self._optimizer_name!r} go into optimizer_options"
                )

    def _refuse_stale_state(self, optimizer: torch.optim.Optimizer) -> None:
        if optimizer.state and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            engine = "FSDP" if self.is_fsdp_enabled else "DeepSpeed"
            raise GraftworkError(
                f"optimizer/{self._optimizer_name} makes its state for whole weights, and {engine} cuts them "
                "up afterwards: use DDP, or an optimizer that makes its state in the first step"
            )
