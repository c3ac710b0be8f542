"""Which parameters are trained: all, those that patterns name, or low-rank adapters.

Patterns are shell patterns over the dotted names of parameters, ``encoder.layer.5.*`` for instance. Adapters
are LoRA's (Hu et al., arXiv:2106.09685), put in by peft in place of linear layers; what they adapt is frozen.
Parameters that were drawn at random (a fresh head) are trained beside the adapters.
"""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from graftwork.errors import GraftworkError, did_you_mean
from graftwork_text.sources.extras import LORA

_NAMES_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What to train of a model.

    Args:
        train_only: shell patterns of the only parameters to train, encoder.layer.5.* for instance; none for
            all.
        freeze: shell patterns of parameters not to train.
        lora_rank: rank of low-rank adapters, with all else but a fresh head frozen; none for no adapters.
            Needs peft.
        lora_alpha: adapters are scaled by lora_alpha / lora_rank.
        lora_target: names of the layers to adapt, or all-linear for every linear one but the output layer.

    Raises:
        ValueError: an option is out of its range, or adapters go with train_only.
        MissingExtraError: peft is not installed.
    """

    train_only: Sequence[str] = ()
    freeze: Sequence[str] = ()
    lora_rank: int | None = None
    lora_alpha: float = 16.0
    lora_target: str | list[str] = "all-linear"

    def __post_init__(self) -> None:
        if self.lora_rank is not None and self.lora_rank < 1:
            raise ValueError(f"lora_rank must be at least 1, or none for no adapters, got {self.lora_rank}")
        if not self.lora_alpha > 0:
            raise ValueError(f"lora_alpha must be above 0, got {self.lora_alpha}")
        if self.lora_rank is not None and self.train_only:
            raise ValueError(
                "train_only must be left out with lora_rank, which trains the adapters; got "
                f"{list(self.train_only)}"
            )
        if self.lora_rank is not None:
            LORA.require()

    def apply(self, model: nn.Module, *, adapted: nn.Module, fresh: Iterable[str]) -> None:
        """Freeze and adapt a model in place.

        Args:
            model: all of it.
            adapted: the part that gets adapters, a model of transformers.
            fresh: names of the model's parameters that were drawn at random.

        Raises:
            GraftworkError: a target is no layer, a pattern matches no parameter, or nothing is left to train.
        """
        if self.lora_rank is not None:
            parameters = dict(model.named_parameters())
            new = [parameters[name] for name in fresh]
            model.requires_grad_(False)
            self._inject(adapted, _layers_of(new, adapted))
            for parameter in new:
                parameter.requires_grad_(True)
        if self.train_only:
            kept = _matching(model, self.train_only, "train_only")
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name in kept)
        frozen = _matching(model, self.freeze, "freeze")
        for name, parameter in model.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise GraftworkError(f"freeze = {list(self.freeze)} leaves no parameter to train")

    def _inject(self, model: nn.Module, fresh_layers: set[str]) -> None:
        peft = importlib.import_module("peft")
        config = peft.LoraConfig(
            r=self.lora_rank or 0,
            lora_alpha=self.lora_alpha,
            target_modules=self.lora_target,
            exclude_modules=sorted(fresh_layers) or None,
            lora_dropout=0.0,
        )
        try:
            peft.inject_adapter_in_model(config, model)
        except ValueError as error:
            raise GraftworkError(
                f"lora_target = {self.lora_target!r}: {str(error).splitlines()[0]} Layers of this model: "
                f"{', '.join(_linear_layers(model))}"
            ) from error


def _matching(model: nn.Module, patterns: Sequence[str], option: str) -> set[str]:
    names = [name for name, _ in model.named_parameters()]
    found: set[str] = set()
    for pattern in patterns:
        matches = fnmatch.filter(names, pattern)
        if not matches:
            some = ", ".join([*names[:_NAMES_SHOWN], "...", *names[-_NAMES_SHOWN:]])
            raise GraftworkError(
                f"{option}: no parameter matches {pattern!r}{did_you_mean(pattern, names)}; there are "
                f"{len(names)}: {some}"
            )
        found.update(matches)
    return found


def _layers_of(parameters: Sequence[nn.Parameter], model: nn.Module) -> set[str]:
    """Names of the modules that have one of some parameters themselves."""
    wanted = set(parameters)
    return {name for name, module in model.named_modules() if wanted & set(module.parameters(recurse=False))}


def _linear_layers(model: nn.Module) -> list[str]:
    layers = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return sorted({name.rpartition(".")[2] for name in layers})
