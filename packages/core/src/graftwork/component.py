"""What a plugin registers: frozen data that names an import path and imports nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from graftwork.extras import Extra

_NAME = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*")
_TARGET = re.compile(r"[^\W\d][\w.]*:[\w./-]+")


def is_component_name(text: str) -> bool:
    """Whether a component can be called so: lower case with hyphens."""
    return _NAME.fullmatch(text) is not None


def _require(pattern: re.Pattern[str], value: object, what: str, right: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{what} must be {right}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of component and the contract of its targets.

    Args:
        name: lower case with hyphens, as in ``optimizer`` or ``gradient-transform``.
        contract: what a target is called with and what it returns, one or two sentences.
        supplied: parameters that the caller fills in, which a recipe therefore cannot set; ``("*",)`` for
            every parameter without a default (a model's ``vocab_size``, which only the task knows) that names
            no component.
        companion: a function on the target whose parameters are options too. An optimizer's
            ``select_parameters(model, ...)`` turns a model into parameter groups.
        attributes: what the built object must have, ``one|other`` where either will do; checked on a class
            before it is built.

    >>> Kind("gradient-transform", contract="target(**options) -> GradientTransform").name
    'gradient-transform'
    """

    OPTIMIZER: ClassVar[str] = "optimizer"
    ATTENTION: ClassVar[str] = "attention"
    MODEL: ClassVar[str] = "model"
    ATTENTION_CONVERSION: ClassVar[str] = "attention-conversion"
    LOSS: ClassVar[str] = "loss"
    TASK: ClassVar[str] = "task"
    TRAINER: ClassVar[str] = "trainer"
    TOPOLOGY: ClassVar[str] = "topology"
    STRATEGY: ClassVar[str] = "strategy"
    DEGRADATION: ClassVar[str] = "degradation"
    METRIC: ClassVar[str] = "metric"
    CORPUS: ClassVar[str] = "corpus"
    WEIGHTS: ClassVar[str] = "weights"
    RECIPE: ClassVar[str] = "recipe"
    REPRODUCTION: ClassVar[str] = "reproduction"
    TRACKER: ClassVar[str] = "tracker"
    CALLBACK: ClassVar[str] = "callback"

    name: str
    contract: str
    supplied: tuple[str, ...] = ()
    companion: str | None = None
    attributes: tuple[str, ...] = ()

    def supplies(self, parameter: str, *, has_default: bool) -> bool:
        """Whether the caller fills in this parameter, so that a recipe cannot."""
        return parameter in self.supplied or (self.supplied == ("*",) and not has_default)

    def companion_of(self, target: object) -> Any:
        """The function beside a target whose parameters are options too, or None."""
        return getattr(called_by(target), self.companion, None) if self.companion else None

    def lacking(self, thing: object) -> list[str]:
        """Which of its attributes a class or object lacks."""
        return [
            names.replace("|", " or ")
            for names in self.attributes
            if not any(hasattr(thing, name) for name in names.split("|"))
        ]

    def __post_init__(self) -> None:
        _require(_NAME, self.name, "a kind's name", "lower case with hyphens, like 'gradient-transform'")


@dataclass(frozen=True, slots=True)
class Component:
    """One registered entry.

    Args:
        kind: the name of a declared kind, ``Kind.OPTIMIZER`` for instance.
        name: lower case with hyphens, algorithm before base: ``gwt-adamw``.
        target: ``package.module:attribute``, imported only when the entry is used; for a recipe
            ``package:path/inside/it.toml``.
        summary: one line for ``graftwork list``.
        paper: where it was published, ``arXiv:2501.07237`` for instance.
        extras: what it needs beyond its package's own requirements.

    Raises:
        ValueError: where a name or a target is not of that form.

    >>> Component(Kind.OPTIMIZER, "gwt-adamw", "package.gwt:GWTAdamW", "AdamW in a wavelet band").reference
    'optimizer/gwt-adamw'
    """

    kind: str
    name: str
    target: str
    summary: str
    paper: str | None = None
    extras: tuple[Extra, ...] = ()

    def __post_init__(self) -> None:
        _require(_NAME, self.kind, "a component's kind", "a declared kind's name, like 'optimizer'")
        _require(_NAME, self.name, "a component's name", "lower case with hyphens, like 'gwt-adamw'")
        _require(_TARGET, self.target, f"the target of {self.kind}/{self.name}", "'package.module:attribute'")
        if not isinstance(self.extras, tuple) or not all(isinstance(extra, Extra) for extra in self.extras):
            raise ValueError(f"extras of {self.reference} must be a tuple of Extra, got {self.extras!r}")

    @property
    def reference(self) -> str:
        """The short reference, ``kind/name``."""
        return f"{self.kind}/{self.name}"

    def require_extras(self) -> None:
        """Refuse to go on where something that it always needs is missing.

        Raises:
            MissingExtraError: one sentence with the command that installs it.
        """
        for extra in self.extras:
            if not extra.when:
                extra.require(self.reference)


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand that a package adds to ``graftwork``.

    Args:
        name: the word on the command line.
        summary: one line for ``graftwork --help``.
        target: ``package.module:attribute``, a class whose instance has ``configure(parser)`` and
            ``run(arguments) -> int``; imported only when the command is called. With
            ``more_help(arguments) -> lines``, ``--help`` tells more of what else stands beside it.
    """

    name: str
    summary: str
    target: str

    def __post_init__(self) -> None:
        _require(_NAME, self.name, "a command's name", "lower case with hyphens, like 'train'")
        _require(
            _TARGET, self.target, f"the target of the command {self.name!r}", "'package.module:attribute'"
        )


def called_by(target: Any) -> Any:
    """The class or function that a target is, or that it calls where it is a ``functools.partial``."""
    while isinstance(target, partial):
        target = target.func
    return target


SHIPPED_KINDS: tuple[Kind, ...] = (
    Kind(
        Kind.OPTIMIZER,
        "target(params, **options) -> torch.optim.Optimizer. Class attribute closure (None, 'loss' or "
        "'gradient') says what step() must be given; select_parameters(model, ...), where there is one, "
        "makes params. An option total_steps that is None is filled in by the trainer.",
        supplied=("params", "model"),
        companion="select_parameters",
        attributes=("step", "zero_grad", "state_dict", "load_state_dict"),
    ),
    Kind(
        Kind.ATTENTION,
        "target(dim, heads, max_len, *, layer_index, **options) -> torch.nn.Module: forward(x, mask=None) "
        "takes x [batch, tokens, dim] of at most max_len tokens and mask, bool [batch, tokens], True where a "
        "token is real, and returns [batch, tokens, dim]; the class says in capabilities (masks, any_length, "
        "causal, cross, reuses_qkv, needs_positions) what may be asked of it.",
        supplied=("dim", "heads", "max_len", "layer_index"),
        attributes=("forward", "capabilities"),
    ),
    Kind(
        Kind.MODEL,
        "target(**facts, **options) -> torch.nn.Module; the facts (vocab_size, ...) are the parameters "
        "without a default, and the task supplies them.",
        supplied=("*",),
    ),
    Kind(
        Kind.ATTENTION_CONVERSION,
        "target(model, attention, *, max_len=None) -> the same torch.nn.Module, each self-attention of it "
        "replaced by what attention(dim, heads, max_len, layer_index=...) builds. The component is called as "
        "the library of the models that it takes, the top-level module of their classes; it refuses a model "
        "that it cannot convert, and an attention that does not fit, in one sentence, the model as it was.",
        supplied=("model", "attention", "max_len"),
    ),
    Kind(Kind.LOSS, "target(**options) -> callable of predictions and labels, returning a scalar tensor."),
    Kind(
        Kind.TASK,
        "target(**options) -> Task: build_model(), dataset(split) or batches(split, rank, world_size, seed), "
        "loss(model, batch), and evaluate(model) or evaluate_rows(model, batch) with metrics(rows).",
        attributes=("build_model", "dataset|batches", "loss", "evaluate|evaluate_rows"),
    ),
    Kind(Kind.TRAINER, "target(**options) -> Trainer: fit(task, recipe, run).", attributes=("fit",)),
    Kind(
        Kind.TOPOLOGY, "target(agents, **options) -> graph of who exchanges with whom.", supplied=("agents",)
    ),
    Kind(Kind.STRATEGY, "target(**options) -> rule by which agents mix their states."),
    Kind(Kind.DEGRADATION, "target(**options) -> callable that degrades an image."),
    Kind(Kind.METRIC, "target(**options) -> callable of predictions and labels, returning a number."),
    Kind(
        Kind.CORPUS,
        "target() -> what the task that names it reads; of graftwork-text a Corpus (documents), a "
        "LabelledCorpus (examples) or a QuestionCorpus.",
    ),
    Kind(
        Kind.WEIGHTS,
        "target() -> Path of a folder of pretrained weights in its library's own layout, fetched where it is "
        "not there yet. Where it has them: identity, plain text that determines the weights before they are "
        "fetched; require(), which refuses what fetching lacks, before any work.",
    ),
    Kind(
        Kind.TRACKER,
        "target(**options) -> Tracker: open(run, step, recipe) begins, or goes on after a step; record(step, "
        "metrics); close(). It is built in every process and called in the first alone, and one that fails "
        "ends no training.",
        attributes=("open", "record", "close"),
    ),
    Kind(
        Kind.CALLBACK,
        "target(**options) -> object with on_step(moment), on_evaluation(moment) or on_end(moment), called "
        "in every process; it looks, and changes nothing.",
        attributes=("on_step|on_evaluation|on_end",),
    ),
    Kind(Kind.RECIPE, "a TOML file inside a package, target 'package:path.toml'."),
    Kind(
        Kind.REPRODUCTION,
        "target(output, **options) -> sequence of Finding; writes its figures into the folder output.",
        supplied=("output",),
    ),
)
