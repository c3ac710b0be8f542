"""What this package registers: names and import paths, no torch."""

from __future__ import annotations

from collections.abc import Iterator

from graftwork import Command, Component, Extra, Kind, hookimpl
from graftwork_decentral.extras import DIGITS, FIGURES, PICTURES, REPRODUCE

COMMUNICATOR, FAULTS, METHOD = "communicator", "faults", "bilevel-method"
_SPARKLE, _FLATNESS = "arXiv:2411.14166", "arXiv:2406.20006"
_PACKAGE = "graftwork_decentral"


@hookimpl
def graftwork_kinds() -> Iterator[Kind]:
    """Yield what a decentralized training is made of besides topologies and strategies."""
    yield Kind(
        COMMUNICATOR,
        "target(graphs, device, **options) -> Communicator (graftwork_decentral.communication): rows of the "
        "agents in this process, exchanged with neighbours and mixed.",
        supplied=("graphs", "device"),
        attributes=("exchange", "at", "mean", "sum", "close"),
    )
    yield Kind(
        FAULTS,
        "target(**options) -> Faults: graphs(graphs) and communicator(communicator, strategy) put what goes "
        "wrong in a network around them; validate(strategy, graphs) refuses what would diverge.",
        attributes=("graphs", "communicator", "validate"),
    )
    yield Kind("study", "target(**options) -> study: run(output, say) -> rows.", attributes=("run",))
    yield Kind(
        METHOD,
        "target(problem, communicator, settings, upper_start, lower_start, **options) -> BilevelMethod "
        "(graftwork_decentral.bilevel): variables of the agents in this process, advanced by step(batches).",
        supplied=("problem", "communicator", "settings", "upper_start", "lower_start"),
        attributes=("step", "state_dict", "load_state_dict"),
    )


@hookimpl
def graftwork_commands() -> Iterator[Command]:
    """``flatness-study``."""
    yield Command(
        "flatness-study",
        "compare decentralized methods in excess risk and flatness",
        f"{_PACKAGE}.flatness.study.command:FlatnessStudyCommand",
    )


@hookimpl
def graftwork_components() -> Iterator[Component]:
    """Yield topologies, strategies, communicators, trainers, tasks and reproductions."""
    yield from _topologies()
    yield from _strategies()
    yield Component(
        COMMUNICATOR,
        "stacked",
        f"{_PACKAGE}.communication.stacked:StackedCommunicator",
        "all agents in one process, rows of one matrix",
    )
    yield Component(
        COMMUNICATOR,
        "distributed",
        f"{_PACKAGE}.communication.distributed:DistributedCommunicator",
        "agents in several processes, rows sent point to point (gloo, NCCL)",
    )
    yield from _methods()
    yield from _tasks_and_models()
    yield from _recipes()
    yield Component(
        FAULTS,
        "standard",
        f"{_PACKAGE}.faults.plan:Faults",
        "links that fail, agents cut off, old and compressed messages, processes that die",
    )
    yield Component(
        "study",
        "flatness",
        f"{_PACKAGE}.flatness.study:FlatnessStudy",
        "methods, graphs and batch sizes compared in excess risk and flatness",
        _FLATNESS,
        (FIGURES,),
    )
    yield Component(
        Kind.REPRODUCTION,
        "sparkle",
        f"{_PACKAGE}.reproductions.sparkle:reproduce",
        "a quadratic problem, hyper-cleaning of digits, and which level's graph matters",
        _SPARKLE,
        (REPRODUCE,),
    )
    yield Component(
        Kind.REPRODUCTION,
        "flatness",
        f"{_PACKAGE}.reproductions.flatness:reproduce",
        "exact excess risk beside simulation, and escape times from a sharp well",
        _FLATNESS,
        (FIGURES,),
    )
    yield Component(
        Kind.TRAINER,
        "bilevel",
        f"{_PACKAGE}.trainers.bilevel:BilevelTrainer",
        "a task's bilevel problem, solved by agents that exchange with neighbours only",
        _SPARKLE,
    )
    yield Component(
        Kind.TRAINER,
        "decentralized",
        f"{_PACKAGE}.trainers.decentralized:DecentralizedTrainer",
        "any task, with agents that exchange with neighbours only",
    )


def _topologies() -> Iterator[Component]:
    for name, target, summary in (
        ("ring", "graphs:ring", "each with the one before and the one after"),
        ("path", "graphs:path", "a line"),
        ("star", "graphs:star", "one in the middle, the others with it alone"),
        ("full", "graphs:full", "everyone with everyone: mixing is the mean"),
        ("torus", "graphs:torus", "a grid whose opposite sides are joined"),
        ("hypercube", "graphs:hypercube", "numbers that differ in one binary digit"),
        ("erdos-renyi", "graphs:erdos_renyi", "each pair with a given probability, drawn once"),
        ("edges", "graphs:from_edges", "a graph of your own, by its edges"),
        ("static-exponential", "exponential:static_exponential", "distances 1, 2, 4, ... at once"),
        (
            "one-peer-exponential",
            "exponential:one_peer_exponential",
            "distances 1, 2, 4, ... in turn, one peer a step",
        ),
    ):
        paper = "arXiv:2110.13363" if "exponential" in name else None
        yield Component(Kind.TOPOLOGY, name, f"{_PACKAGE}.topology.{target}", summary, paper)


def _strategies() -> Iterator[Component]:
    for name, target, summary, paper in (
        ("diffusion", "uncorrected:diffusion", "move, then mix; corrects nothing", "arXiv:1308.1009"),
        ("consensus", "uncorrected:consensus", "mix and move at once; corrects nothing", None),
        (
            "exact-diffusion",
            "exact_diffusion:exact_diffusion",
            "diffusion that corrects for different data (D^2)",
            "arXiv:1702.05122",
        ),
        ("extra", "extra:extra", "consensus that corrects for different data", "arXiv:1404.6264"),
        ("gt-atc", "gradient_tracking:gt_atc", "tracks the mean gradient; mixes everything", None),
        ("gt-semi-atc", "gradient_tracking:gt_semi_atc", "tracks the mean gradient in one round", None),
        (
            "gt-non-atc",
            "gradient_tracking:gt_non_atc",
            "tracks the mean gradient; mixes before it moves (DIGing)",
            "arXiv:1607.03218",
        ),
    ):
        yield Component(Kind.STRATEGY, name, f"{_PACKAGE}.strategies.{target}", summary, paper)


def _methods() -> Iterator[Component]:
    for name, target, summary, paper in (
        ("sparkle", "sparkle", "any strategy at each of three levels", _SPARKLE),
        ("d-soba", "d_soba", "the same step without a correction", "arXiv:2402.03167"),
        (
            "ma-dsbo-gt",
            "ma_dsbo_gt",
            "inner loops, gradient tracking and a moving average",
            "arXiv:2210.12839",
        ),
        ("mdbo", "mdbo", "momentum, and Neumann series for the inverse Hessian", "arXiv:2206.15025"),
        ("sldbo", "sldbo", "a single loop with gradient tracking", "arXiv:2311.08945"),
        ("centralized", "centralized", "everything averaged over all agents at each step", None),
    ):
        yield Component(METHOD, name, f"{_PACKAGE}.bilevel.methods:{target}", summary, paper)


def _tasks_and_models() -> Iterator[Component]:
    nothing: tuple[Extra, ...] = ()
    for name, target, summary, extras in (
        (
            "image-classification",
            "image_classification:ImageClassification",
            "classify images, with agents whose classes differ",
            (DIGITS, PICTURES),
        ),
        (
            "hyper-cleaning",
            "hyper_cleaning:HyperCleaningTask",
            "learn which training labels are wrong from a few clean ones (bilevel)",
            (DIGITS,),
        ),
        (
            "policy-evaluation",
            "policy_evaluation:PolicyEvaluationTask",
            "values of a policy from the agents' own rewards (bilevel)",
            nothing,
        ),
        (
            "meta-learning",
            "meta_learning:MetaLearningTask",
            "features from which few samples of new classes suffice (bilevel)",
            (DIGITS,),
        ),
    ):
        yield Component(Kind.TASK, name, f"{_PACKAGE}.tasks.{target}", summary, extras=extras)
    yield Component(Kind.MODEL, "mlp", f"{_PACKAGE}.models.mlp:mlp", "a perceptron with one hidden layer")
    yield Component(
        Kind.MODEL,
        "resnet18",
        f"{_PACKAGE}.models.resnet:resnet18",
        "ResNet-18 for images of 32 pixels a side",
        "arXiv:1512.03385",
    )


def _recipes() -> Iterator[Component]:
    for name, summary in (
        ("hyper-cleaning", "ten agents find wrong labels among digits"),
        ("hyper-cleaning-fashion-mnist", "the same on Fashion-MNIST; wants a folder of its files"),
        ("policy-evaluation", "ten agents evaluate a policy together"),
        ("meta-learning", "five agents learn features for new classes"),
        ("cifar10-decentralized", "ResNet-18 on CIFAR-10 by 16 agents; wants its folder and a GPU"),
    ):
        yield Component(Kind.RECIPE, name, f"{_PACKAGE}:recipes/{name}.toml", summary)
