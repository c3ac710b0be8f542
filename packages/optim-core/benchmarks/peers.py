"""What the benchmarks share: the weights, other libraries' optimizers, and timing in turn.

Every round calls every contestant once, so that a disturbance falls on all of them alike; ratios are taken
within a round. The other libraries are wanted for a comparison alone and are no dependencies:

    pip install galore-torch pytorch_optimizer torchao bitsandbytes

One that is not installed, or does not run on this device, is left out with one line that says so. All
contestants read the same gradients, which no optimizer writes into.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

HIDDEN, INTERMEDIATE, LAYERS, VOCABULARY = 512, 1376, 8, 4096
BLOCK = [(HIDDEN, HIDDEN)] * 4 + [(INTERMEDIATE, HIDDEN)] * 2 + [(HIDDEN, INTERMEDIATE)]
RANK = HIDDEN // 4
NEVER = 10**9
"""Between two bases, where ordinary steps are measured; the first step of all takes one anyway."""

WARM_UP = 2

Seconds = dict[str, list[float]]
Clock = Callable[[], float]


class Weights(NamedTuple):
    """Parameters with gradients: those that are transformed, and those that stay plain."""

    transformed: list[nn.Parameter]
    plain: list[nn.Parameter]

    @property
    def all(self) -> list[nn.Parameter]:
        """Both."""
        return self.transformed + self.plain

    def groups(self, transformed: Mapping[str, Any], plain: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return parameter groups with options of their own."""
        return [{"params": self.transformed, **transformed}, {"params": self.plain, **plain}]


class WeightMaker:
    """Makes equal weights for every contestant, on one set of gradients.

    Args:
        transformed: shapes.
        plain: shapes.
        dtype: of weights and gradients.
    """

    def __init__(
        self,
        transformed: Sequence[tuple[int, ...]],
        plain: Sequence[tuple[int, ...]],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        torch.manual_seed(0)
        self._dtype = dtype
        self._shapes = (list(transformed), list(plain))
        self._gradients = tuple(
            [(torch.randn(shape) * 0.01).to(dtype) for shape in shapes] for shapes in self._shapes
        )

    def make(self) -> Weights:
        """Return new weights."""
        torch.manual_seed(1)
        both = []
        for shapes, gradients in zip(self._shapes, self._gradients, strict=True):
            group = [nn.Parameter((torch.randn(shape) * 0.02).to(self._dtype)) for shape in shapes]
            for parameter, gradient in zip(group, gradients, strict=True):
                parameter.grad = gradient
            both.append(group)
        return Weights(*both)

    def __str__(self) -> str:
        counts = [sum(torch.Size(shape).numel() for shape in shapes) for shapes in self._shapes]
        return (
            f"{sum(counts) / 1e6:.1f}M parameters, {counts[0] / 1e6:.1f}M of them transformed, "
            f"{str(self._dtype).removeprefix('torch.')}"
        )


def llama(dtype: torch.dtype = torch.float32, layers: int = LAYERS) -> WeightMaker:
    """Return weights of a LLaMA's shapes: attention and MLP transformed, embedding, head and norms plain."""
    norms = [(HIDDEN,)] * (2 * layers + 1)
    return WeightMaker(BLOCK * layers, [(VOCABULARY, HIDDEN), (VOCABULARY, HIDDEN), *norms], dtype)


Build = Callable[[Weights], Optimizer]


def _imported(module: str, name: str) -> Any:
    # Some announce themselves on import, in every way there is.
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return getattr(importlib.import_module(module), name)


def galore_torch(weights: Weights, refresh_every: int = NEVER) -> Optimizer:
    """Return the GaLore of the package galore-torch."""
    own = {"rank": RANK, "update_proj_gap": refresh_every, "scale": 0.25, "proj_type": "std"}
    built: Optimizer = _imported("galore_torch", "GaLoreAdamW")(
        weights.groups(own, {}), lr=1e-4, no_deprecation_warning=True
    )
    return built


def _pytorch_optimizer(name: str, projection: str, **options: Any) -> Build:
    def build(weights: Weights) -> Optimizer:
        own = {"rank": RANK, "update_proj_gap": NEVER, "scale": 0.25, "projection_type": projection}
        built: Optimizer = _imported("pytorch_optimizer", name)(weights.groups(own, {}), lr=1e-4, **options)
        return built

    return build


def _all_plain(module: str, name: str) -> Build:
    def build(weights: Weights) -> Optimizer:
        built: Optimizer = _imported(module, name)(weights.all, lr=1e-4, weight_decay=0.0)
        return built

    return build


def adamw(**options: Any) -> Build:
    """Return a builder of torch's AdamW."""
    return lambda weights: torch.optim.AdamW(weights.all, lr=1e-4, weight_decay=0.0, **options)


TORCH: dict[str, Build] = {
    "AdamW fused": adamw(fused=True),
    "AdamW foreach": adamw(foreach=True),
    "AdamW for-loop": adamw(foreach=False),
}
GALORE: dict[str, Build] = {
    "galore-torch GaLoreAdamW": galore_torch,
    "pytorch_optimizer GaLore": _pytorch_optimizer("GaLore", "std"),
    "pytorch_optimizer APOLLO": _pytorch_optimizer("APOLLO", "std", scale_type="channel"),
}
EIGHT_BIT: dict[str, Build] = {
    "torchao AdamW8bit": _all_plain("torchao.optim", "AdamW8bit"),
    "bitsandbytes AdamW8bit": _all_plain("bitsandbytes.optim", "AdamW8bit"),
}


def built(maker: WeightMaker, builders: Mapping[str, Build]) -> dict[str, Optimizer]:
    """Build every optimizer on weights of its own and let it make one step; leave out what cannot."""
    ready: dict[str, Optimizer] = {}
    for name, build in builders.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                optimizer = build(maker.make())
                optimizer.step()
        except Exception as error:  # whatever a library does on a device it was not made for
            first_line = str(error).strip().splitlines()[:1]
            print(f"{name} is left out: {type(error).__name__}: {' '.join(first_line)[:120]}")
            continue
        ready[name] = optimizer
    return ready


def take_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int, clock: Clock, warm_up: int = WARM_UP
) -> Seconds:
    """Call everything once a round; return every one's seconds of every round but the first few."""
    seconds: Seconds = {name: [] for name in calls}
    for round_number in range(rounds + warm_up):
        for name, call in calls.items():
            start = clock()
            call()
            if round_number >= warm_up:
                seconds[name].append(clock() - start)
    return seconds


class Ratio(NamedTuple):
    """Of two times taken within one round, over all rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, times: Sequence[float], base: Sequence[float]) -> Ratio:
        """Divide round by round."""
        ratios = [one / other for one, other in zip(times, base, strict=True)]
        return cls(statistics.median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


class Bar(NamedTuple):
    """What a contestant's time must not exceed, as a multiple of another's."""

    contestant: str
    base: str
    most: float
    stretch: float | None = None


def print_table(
    title: str, seconds: Seconds, base: str, columns: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Print medians and ratios to a base, with further columns."""
    further = {head: (_width_of(head, column), column) for head, column in (columns or {}).items()}
    first, third = max(map(len, seconds)), max(24, 9 + len(base))
    heads = "".join(f"  {head:>{width}}" for head, (width, _) in further.items())
    print(f"\n{title}")
    print(f"{'':{first}} {'ms, median':>10}  {f'ratio to {base}':<{third}}{heads}".rstrip())
    for name, times in seconds.items():
        ratio = str(Ratio.of(times, seconds[base]))
        cells = "".join(f"  {column.get(name, ''):>{width}}" for width, column in further.values())
        print(f"{name:{first}} {1e3 * statistics.median(times):10.2f}  {ratio:<{third}}{cells}".rstrip())


def _width_of(head: str, column: Mapping[str, str]) -> int:
    return max(len(head), *map(len, column.values())) if column else len(head)


def print_bars(seconds: Seconds, bars: Sequence[Bar]) -> None:
    """Print how contestants stand to what is expected of them, where both of a pair took part."""
    for bar in bars:
        if bar.contestant not in seconds or bar.base not in seconds:
            continue
        ratio = Ratio.of(seconds[bar.contestant], seconds[bar.base])
        verdict = "met" if ratio.median <= bar.most else "MISSED"
        if bar.stretch is not None and ratio.median <= bar.stretch:
            verdict = "met, and the stretch"
        stretch = "" if bar.stretch is None else f", stretch {bar.stretch}"
        print(f"  {bar.contestant} / {bar.base}: {ratio}; at most {bar.most:.3g}{stretch}: {verdict}")


def state_bytes(optimizer: Optimizer) -> int:
    """Return the bytes of all tensors in an optimizer's state, each storage once, wherever they are held."""
    storages: dict[int, int] = {}
    seen: set[int] = set()

    def visit(value: object) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, Tensor):
            inner = getattr(value, "__tensor_flatten__", None)
            if inner is not None:
                for name in inner()[0]:
                    visit(getattr(value, name))
            else:
                storage = value.untyped_storage()
                storages[storage._cdata] = storage.nbytes()
        elif isinstance(value, Mapping):
            for one in value.values():
                visit(one)
        elif isinstance(value, list | tuple):
            for one in value:
                visit(one)
        elif hasattr(value, "__dict__"):
            visit(vars(value))

    for state in optimizer.state.values():
        visit(state)
    return sum(storages.values())


def mebibytes(count: float) -> str:
    """Return a number of bytes as MiB."""
    return f"{count / 2**20:.1f}"


def arguments_of(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Return a parser of what all benchmarks take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: of all threads, on a machine that others use",
    )
    return parser


def clock_of(name: str) -> Clock:
    """Return the clock that ``--clock`` names."""
    return time.perf_counter if name == "wall" else time.process_time


def print_machine(clock: str) -> None:
    """Print what the figures depend on."""
    print(f"torch {torch.__version__}, {_processor()}, {clock} time")


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def require(found: Tensor, expected: Tensor, what: str, tolerance: float = 1e-3) -> None:
    """Stop the program where an update is wrong.

    Args:
        found: a weight's change.
        expected: what it should be.
        what: says whose it is.
        tolerance: of the difference's norm, relative to the expected's.
    """
    expected = expected.double()
    error = float((found.double() - expected).norm() / expected.norm())
    if not error <= tolerance:
        sys.exit(f"{what}: the update is off by {error:.1e} of its norm; nothing is timed")
