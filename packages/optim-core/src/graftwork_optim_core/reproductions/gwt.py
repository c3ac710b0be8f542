"""GWT's optimizer-state sizes for LLaMA models from 60M to 7B, and two steps of the update by hand.

Sizes: bytes that the optimizer would allocate for weights on the meta device, in bfloat16 (2 bytes an
element), with the linear weights of attention and MLP transformed and everything else plain Adam, as
arXiv:2501.07237 trains them. Its own table of sizes was not to be had: those of GWT stand beside ones
computed from the shapes. Published are those of Adam and GaLore for the same models, estimates in bfloat16
too (arXiv:2403.03507, table 6b). They do not follow from the shapes: at 60M embedding and head alone, in
Adam, take the 0.13 GB that are printed for GaLore.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from graftwork import Finding
from graftwork_optim_core.galore import GaLoreAdamW
from graftwork_optim_core.gwt import GWTAdamW
from graftwork_optim_core.memory import predicted_state_bytes
from graftwork_optim_core.reproductions.output import can_draw, write_findings, write_table


@dataclass(frozen=True, slots=True)
class LlamaSizes:
    """The sizes that decide a LLaMA model's parameters; embedding and head are not tied."""

    hidden: int
    intermediate: int
    layers: int
    vocabulary: int = 32000

    def transformed(self) -> list[Tensor]:
        """Return the linear weights of attention and MLP, on the meta device in bfloat16."""
        hidden, intermediate = self.hidden, self.intermediate
        block = [(hidden, hidden)] * 4 + [(intermediate, hidden)] * 2 + [(hidden, intermediate)]
        return [_meta(*shape) for _ in range(self.layers) for shape in block]

    def plain(self) -> list[Tensor]:
        """Return embedding, head and norms."""
        norms = [_meta(self.hidden) for _ in range(2 * self.layers + 1)]
        return [_meta(self.vocabulary, self.hidden), _meta(self.vocabulary, self.hidden), *norms]


LLAMA = {
    "60M": LlamaSizes(512, 1376, 8),
    "130M": LlamaSizes(768, 2048, 12),
    "350M": LlamaSizes(1024, 2736, 24),
    "1B": LlamaSizes(2048, 5461, 24),
    "3B": LlamaSizes(2560, 6848, 32),
    "7B": LlamaSizes(4096, 11008, 32),
}

SIZES_IN_GB = {
    "60M": (0.232, 0.182, 0.156, 0.144, 0.137),
    "130M": (0.536, 0.367, 0.282, 0.239, 0.218),
    "350M": (1.472, 0.867, 0.565, 0.414, 0.338),
    "1B": (5.356, 2.941, 1.733, 1.129, 0.827),
    "3B": (10.743, 5.700, 3.178, 1.917, 1.286),
    "7B": (26.954, 14.002, 7.526, 4.288, 2.669),
}
"""Adam and GWT at levels 1 to 4, computed from the shapes."""

PUBLISHED_IN_GB = {
    "60M": (0.23, 128, 0.13),
    "130M": (0.51, 256, 0.28),
    "350M": (1.37, 256, 0.54),
    "1B": (5.20, 512, 1.78),
}
"""arXiv:2403.03507, table 6b: Adam, and GaLore with its rank."""

_GRADIENTS = ([[1, 2, 3, 4], [-1, 0, 2, -3]], [[2, -1, 0.5, 1], [4, 4, -4, 1]])
_WEIGHTS_BY_HAND = (
    [
        [0.041247280691, -0.076602092712, 0.007576095682, -0.042931208866],
        [0.194445668952, -0.159091910960, -0.866167070785, 0.901520828776],
    ],
    [
        [-0.087322189828, 0.023735505943, 0.002857261964, -0.064503020150],
        [0.183825750530, -0.169711829382, -0.660614497773, 0.725714268185],
    ],
)


def _meta(*shape: int) -> Tensor:
    return torch.empty(*shape, device="meta", dtype=torch.bfloat16)


def state_gigabytes(shape: LlamaSizes, level: int) -> float:
    """Return the predicted size of the state in GB of 1e9 bytes; level 0 is Adam.

    >>> round(state_gigabytes(LLAMA["7B"], 2), 3)
    7.526
    """
    plain = {"plain": True}
    transformed = {"params": shape.transformed(), **(plain if level == 0 else {"level": level})}
    groups = [transformed, {"params": shape.plain(), **plain}]
    return predicted_state_bytes(groups).total / 1e9


def galore_gigabytes(shape: LlamaSizes, rank: int) -> float:
    """Return the predicted size of GaLore's state in GB of 1e9 bytes.

    >>> round(galore_gigabytes(LLAMA["1B"], 512), 3)
    2.085
    """
    groups = [{"params": shape.transformed(), "rank": rank}, {"params": shape.plain(), "plain": True}]
    return predicted_state_bytes(groups, GaLoreAdamW).total / 1e9


def reproduce(output: Path) -> list[Finding]:
    """Compute the table of state sizes and the worked example.

    Args:
        output: folder for ``findings.json``, ``state_sizes.csv`` and, where matplotlib is installed,
            ``state_sizes.png``; made if need be.
    """
    pictured = can_draw()
    output.mkdir(parents=True, exist_ok=True)
    measured = {name: [state_gigabytes(shape, level) for level in range(5)] for name, shape in LLAMA.items()}
    findings = [*_published_sizes(measured), *_computed_sizes(measured), *_worked_example()]
    write_findings(output, findings)
    heading = ["model", *(f"{_optimizer(level)} [GB]" for level in range(5))]
    rows = ([name, *(f"{size:.3f}" for size in sizes)] for name, sizes in measured.items())
    write_table(output / "state_sizes.csv", heading, rows)
    if pictured:
        _plot(measured, output / "state_sizes.png")
    return findings


def _optimizer(level: int) -> str:
    return f"GWT-{level}" if level else "Adam"


def _published_sizes(measured: dict[str, list[float]]) -> Iterator[Finding]:
    note = "arXiv:2403.03507, table 6b, an estimate whose G is not explained"
    for name, (adam, rank, galore) in PUBLISHED_IN_GB.items():
        yield Finding(f"state of Adam at {name}, GB", adam, measured[name][0], note)
        size = galore_gigabytes(LLAMA[name], rank)
        yield Finding(f"state of GaLore at {name}, rank {rank}, GB", galore, size, note)


def _computed_sizes(measured: dict[str, list[float]]) -> Iterator[Finding]:
    for name, sizes in measured.items():
        for level, (size, computed) in enumerate(zip(sizes, SIZES_IN_GB[name], strict=True)):
            if level or name not in PUBLISHED_IN_GB:
                quantity = f"state of {_optimizer(level)} at {name}, GB"
                yield Finding(quantity, None, size, expected=computed, source="computed")


def _worked_example() -> Iterator[Finding]:
    weight = torch.nn.Parameter(torch.zeros(2, 4, dtype=torch.float64))
    optimizer = GWTAdamW([weight], lr=0.1, level=1, detail_guard="off")
    for step, (gradient, by_hand) in enumerate(zip(_GRADIENTS, _WEIGHTS_BY_HAND, strict=True), 1):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        for row, column in product(range(2), range(4)):
            yield Finding(
                f"weight [{row}, {column}] after step {step} of the worked example",
                None,
                weight[row, column].item(),
                expected=by_hand[row][column],
                source="by hand",
            )


def _plot(measured: dict[str, list[float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for level in range(5):
        positions = [index + (level - 2) * 0.16 for index in range(len(measured))]
        axes.bar(positions, [sizes[level] for sizes in measured.values()], 0.16, label=_optimizer(level))
    axes.set(yscale="log", ylabel="optimizer state [GB]", xlabel="LLaMA model")
    axes.set_xticks(range(len(measured)), list(measured))
    axes.legend()
    figure.savefig(path, dpi=150)
