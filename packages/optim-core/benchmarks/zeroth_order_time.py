"""Time and memory of one zeroth-order step: LOZO's backends and MeZO over the two forward passes that any
such step needs.

    python packages/optim-core/benchmarks/zeroth_order_time.py [--threads 1] [--rounds 15] [--clock wall]
        [--mezo FOLDER] [--lozo FOLDER] [--no-memory]

The model is an encoder of MiniLM's shape (6 layers, width 384, vocabulary 30,522: 22.6M parameters, float32,
random weights); the loss is the mean square of its output. Ratios are taken to two bare forward passes of the
same batch, round by round. FOLDER is a clone of the methods' public code (princeton-nlp/MeZO, optsuite/LOZO),
whose own step and update functions are then timed on the same model and batch. Peak memory is by how much
torch's allocator grows within a step beyond the weights. Nothing is reported if two backends disagree.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from peers import (
    Bar,
    arguments_of,
    clock_of,
    mebibytes,
    print_bars,
    print_machine,
    print_table,
    require,
    take_turns,
)
from torch import Tensor, nn

from graftwork_optim_core import LOZO, LOZOM, MeZO
from graftwork_optim_core.reproductions.allocation import peak_allocation

BARE = "two forward passes"
BATCHES = ((1, 32), (4, 32), (16, 32))
BARS = {
    (1, 32): (Bar("LOZO dual", BARE, 1.05),),
    (4, 32): (
        Bar("LOZO inplace", BARE, 1.36),
        Bar("LOZO sidepath", BARE, 1.34),
        Bar("LOZO dual", BARE, 1.12),
    ),
    (16, 32): (
        Bar("LOZO sidepath", BARE, 1.15),
        Bar("LOZO dual", BARE, 1.15),
        Bar("LOZO inplace", BARE, 1.15),
    ),
}
PUBLISHED = {
    "mezo": ("large_models/trainer.py", "zo_"),
    "lozo": ("large_models/LOZOtrainer.py", "lowrank_zo_"),
}


def encoder() -> nn.Module:
    """Return a model of MiniLM's shape."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    return BertModel(config).eval()


def batch_of(samples: int, tokens: int) -> dict[str, Tensor]:
    """Return a batch of random tokens."""
    generator = torch.Generator().manual_seed(samples)
    ids = torch.randint(1000, 30000, (samples, tokens), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def loss_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Return the mean square of the model's output."""
    loss: Tensor = model(**batch).last_hidden_state.square().mean()
    return loss


def ours(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Callable[[], object]]:
    """Return a step of every optimizer of ours, each on a copy of the model."""
    makers: dict[str, Callable[[Any], Any]] = {
        f"LOZO {backend}": partial(LOZO, backend=backend, lr=1e-7)
        for backend in ("inplace", "sidepath", "dual", "auto")
    }
    makers |= {"LOZO-M auto": partial(LOZOM, lr=1e-7), "MeZO": partial(MeZO, lr=1e-7)}
    steps: dict[str, Callable[[], object]] = {}
    for name, make in makers.items():
        own = copy.deepcopy(model)
        optimizer = make(own.named_parameters())
        optimizer.attach(own)
        steps[name] = partial(optimizer.step, partial(loss_of, own, batch))
    return steps


def published(name: str, clone: Path, model: nn.Module, batch: dict[str, Tensor]) -> Callable[[], object]:
    """Return a step and update by the methods that the public code's trainer defines.

    The trainer itself needs a release of transformers of its time; its step needs only what is given to it
    here.
    """
    file, prefix = PUBLISHED[name]
    tree = ast.parse((clone / file).read_text("utf-8"))
    wanted = {
        f"{prefix}step",
        f"{prefix}update",
        f"{prefix}perturb_parameters",
        "random_gaussian_matrix",
    }
    methods = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in wanted]
    for method in methods:
        method.decorator_list, method.returns = [], None
        for argument in method.args.args:
            argument.annotation = None
    namespace: dict[str, Any] = {"torch": torch, "np": np}
    exec(compile(ast.fix_missing_locations(ast.Module(methods, [])), file, "exec"), namespace)
    own = copy.deepcopy(model)

    class Trainer:
        """What the methods use of their trainer."""

        args = SimpleNamespace(
            zo_eps=1e-3,
            rank_r=2,
            step_interval=50,
            weight_decay=0.0,
            gradient_accumulation_steps=1,
            non_diff=False,
        )
        lr_scheduler = SimpleNamespace(step=lambda: None)

        def _get_learning_rate(self) -> float:
            return 1e-7

        def zo_forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
            """Return the loss as the public code computes it: in inference mode."""
            with torch.inference_mode():
                return loss_of(model, inputs).detach()

    for method in methods:
        setattr(Trainer, method.name, namespace[method.name])
    trainer = Trainer()

    def step() -> None:
        getattr(trainer, f"{prefix}step")(own, batch)
        update = getattr(trainer, f"{prefix}update")
        update(own) if name == "mezo" else update()

    return step


def check_backends(model: nn.Module) -> None:
    """Stop the program if the backends do not make the same steps."""
    batch = batch_of(2, 8)
    weights = []
    for backend in ("inplace", "sidepath", "dual"):
        own = copy.deepcopy(model).double()
        optimizer = LOZO(own.named_parameters(), lr=1e-3, backend=backend, interval=2)
        optimizer.attach(own)
        for _ in range(3):
            optimizer.step(partial(loss_of, own, batch))
        optimizer.merge()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in own.parameters()]))
    for other in weights[1:]:
        require(other, weights[0], "LOZO's backends")


def main() -> None:
    """Print all tables."""
    parser = arguments_of(__doc__, 15)
    parser.set_defaults(threads=[1])
    parser.add_argument("--mezo", type=Path, metavar="FOLDER", help="a clone of MeZO's public code")
    parser.add_argument("--lozo", type=Path, metavar="FOLDER", help="a clone of LOZO's public code")
    parser.add_argument("--no-memory", action="store_true")
    arguments = parser.parse_args()
    print_machine(arguments.clock)
    model = encoder()
    check_backends(model)
    clones = {name: path for name in PUBLISHED if (path := getattr(arguments, name)) is not None}
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for samples, tokens in BATCHES:
            batch = batch_of(samples, tokens)

            @torch.no_grad()
            def bare(batch: dict[str, Tensor] = batch) -> None:
                loss_of(model, batch)
                loss_of(model, batch)

            calls: dict[str, Callable[[], object]] = {BARE: bare, **ours(model, batch)}
            for name, clone in clones.items():
                calls[f"{name}, public code"] = published(name, clone, model, batch)
            seconds = take_turns(calls, arguments.rounds, clock_of(arguments.clock))
            print_table(f"{samples} x {tokens} tokens, {threads} thread(s)", seconds, BARE)
            print_bars(seconds, BARS[(samples, tokens)])
    if not arguments.no_memory:
        print_memory(model, clones)


def print_memory(model: nn.Module, clones: dict[str, Path]) -> None:
    """Print what a step takes beyond the weights, at 16 x 64 tokens."""
    batch = batch_of(16, 64)
    with torch.no_grad():
        base = peak_allocation(partial(loss_of, model, batch))
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    print(f"\npeak beyond the weights ({mebibytes(weights)} MiB), 16 x 64 tokens: MiB, over one forward pass")
    print(f"  {'one forward pass':24} {mebibytes(base):>8}")
    steps = ours(model, batch)
    steps |= {f"{name}, public code": published(name, clone, model, batch) for name, clone in clones.items()}
    steps |= {"SGD, with backward": trained(model, batch, torch.optim.SGD)}
    steps |= {"AdamW, with backward": trained(model, batch, torch.optim.AdamW)}
    for name, step in steps.items():
        if "backward" not in name:
            step()
        peak = peak_allocation(step)
        print(f"  {name:24} {mebibytes(peak):>8}  {peak / base:.2f}")
        if name == "LOZO sidepath":
            verdict = "met" if peak <= 1.4 * base else "MISSED"
            print(f"  {'':24} at most 1.40: {verdict}")


def trained(model: nn.Module, batch: dict[str, Tensor], optimizer: Any) -> Callable[[], object]:
    """Return a first step with gradients, which makes gradients and moments."""
    own = copy.deepcopy(model)
    chosen = optimizer(own.parameters(), lr=1e-7)

    def step() -> None:
        loss_of(own, batch).backward()
        chosen.step()

    return step


if __name__ == "__main__":
    main()
