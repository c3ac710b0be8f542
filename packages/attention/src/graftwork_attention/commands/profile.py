"""``graftwork attention profile``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from graftwork import GraftworkError, Kind, choose, get_registry, parse_set
from graftwork.errors import did_you_mean
from graftwork_attention.profile.shapes import SHAPES, Shape
from graftwork_trainer.commands.train import directory_argument

if TYPE_CHECKING:
    from graftwork_attention.profile.measuring import Cost
    from graftwork_attention.profile.running import Setting

_DEFAULT = "bert-base"
_DTYPES = ("float32", "bfloat16", "float16", "float64")


class ProfileAction:
    """Measure every registered mixer beside softmax attention, at your width and lengths."""

    name = "profile"
    summary = "time and memory of mixers by length, and where they cross softmax attention"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--shape", metavar="NAME", help=f"of {', '.join(SHAPES)} (default: {_DEFAULT}), or give:"
        )
        parser.add_argument("--dim", type=int, metavar="N", help="width of a token")
        parser.add_argument("--heads", type=int, metavar="N", help="divides the width")
        parser.add_argument("--lengths", metavar="N,N", help="numbers of tokens, of a shape's width too")
        parser.add_argument("--over", metavar="NAME,NAME", help="mixers (default: all that are registered)")
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="MIXER.KEY=VALUE",
            help="an option of a mixer, like s3.tokens=32",
        )
        parser.add_argument("--batch", type=int, default=1, metavar="N", help="samples (default: 1)")
        parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        parser.add_argument("--dtype", choices=_DTYPES, default="float32")
        parser.add_argument(
            "--seconds", type=float, default=100.0, metavar="S", help="about how long (default: 100)"
        )
        parser.add_argument(
            "--out",
            type=directory_argument,
            default=Path("attention-profile"),
            metavar="DIR",
            help="where profile.html and profile.json go (default: attention-profile)",
        )

    def run(self, arguments: argparse.Namespace) -> int:
        shape = shape_of(arguments)
        if arguments.batch < 1:
            raise GraftworkError(f"--batch must be at least 1, got {arguments.batch}")
        if not arguments.seconds > 0:
            raise GraftworkError(f"--seconds must be above 0, got {arguments.seconds}")
        # The profiler that counts allocations would tell of itself at the terminal; read as torch is loaded.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        mixers = _mixers(arguments)
        import torch

        from graftwork_attention.profile.page import write
        from graftwork_attention.profile.running import Setting, run
        from graftwork_trainer.waiting import Watch

        if arguments.device == "cuda" and not torch.cuda.is_available():
            raise GraftworkError("--device cuda: torch sees no CUDA device here; leave it out for the CPU")
        setting = Setting(
            dim=shape.dim,
            heads=shape.heads,
            lengths=shape.lengths,
            batch=arguments.batch,
            device=torch.device(arguments.device),
            dtype=getattr(torch, arguments.dtype),
            seconds=arguments.seconds,
        )
        with Watch(shown=True):
            costs = run(mixers, setting)
        _print(costs, setting)
        write(arguments.out, costs, setting)
        print(f"written to {arguments.out / 'profile.html'} and {arguments.out / 'profile.json'}")
        return 0


def shape_of(arguments: argparse.Namespace) -> Shape:
    """Width, heads and lengths that were asked for.

    Raises:
        GraftworkError: there is no such shape, or a number does not fit.
    """
    own = {"--dim": arguments.dim, "--heads": arguments.heads}
    given = [option for option, value in own.items() if value is not None]
    if given and arguments.shape is not None:
        raise GraftworkError(f"give --shape or {' and '.join(given)}, not both")
    if given:
        if len(given) < len(own):
            raise GraftworkError(f"--dim and --heads go together, got {given[0]} alone")
        if arguments.lengths is None:
            raise GraftworkError("--dim and --heads need --lengths, like --lengths 512,1024,2048")
        shape = Shape(arguments.dim, arguments.heads, ())
    else:
        name = arguments.shape or _DEFAULT
        if name not in SHAPES:
            raise GraftworkError(
                f"--shape takes {', '.join(SHAPES)}, got {name!r}{did_you_mean(name, list(SHAPES))}"
            )
        shape = SHAPES[name]
    if shape.dim < 1 or shape.heads < 1 or shape.dim % shape.heads:
        raise GraftworkError(
            f"--heads must divide --dim, both at least 1, got {shape.heads} heads and dim {shape.dim}"
        )
    if arguments.lengths is None:
        return shape
    return Shape(shape.dim, shape.heads, _lengths(arguments.lengths))


def _lengths(text: str) -> tuple[int, ...]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        raise GraftworkError(f"--lengths takes whole numbers from 1 on, like 512,1024,2048, got {text!r}")
    return tuple(found)


def _mixers(arguments: argparse.Namespace) -> dict[str, Callable[..., Any]]:
    """The chosen mixers with their options, by the names that they are chosen by."""
    registry = get_registry()
    names = (
        [entry.component.name for entry in registry.entries(Kind.ATTENTION)]
        if arguments.over is None
        else [name.strip() for name in arguments.over.split(",") if name.strip()]
    )
    if not names:
        raise GraftworkError(f"--over takes names of mixers, like sdpa,s3, got {arguments.over!r}")
    options: dict[str, dict[str, Any]] = {name: {} for name in names}
    for text in arguments.set:
        override = parse_set(text)
        mixer, *path = override.path
        if mixer not in options or len(path) != 1:
            raise GraftworkError(
                f"--set takes MIXER.KEY=VALUE of a mixer that is profiled ({', '.join(names)}), got {text!r}"
            )
        options[mixer][path[0]] = override.value
    return {name: choose(Kind.ATTENTION, name, options[name]) for name in dict.fromkeys(names)}


def _print(costs: Sequence[Cost], setting: Setting) -> None:
    from graftwork_attention.profile.page import SHOWN, heading
    from graftwork_attention.profile.reading import slope
    from graftwork_attention.profile.words import MEASURES, answer, curves, sentences
    from graftwork_trainer.screen import Screen

    screen = Screen()
    screen.write(screen.spell(heading(setting)))
    for name in ("training", "saved"):
        screen.write()
        columns = curves(costs, name)
        head = [MEASURES[name], *(f"{length:,}" for length in setting.lengths), "slope"]
        lines = [
            [
                screen.spell(mixer),
                *(SHOWN[name](curve[n]) if n in curve else "" for n in setting.lengths),
                f"{slope(curve):.2f}",
            ]
            for mixer, curve in columns.items()
        ]
        screen.columns([[screen.spell(text) for text in line] for line in [head, *lines]])
    screen.write()
    for sentence in [*sentences(costs), answer(costs)]:
        for line in wrap(screen.spell(sentence), screen.width, subsequent_indent="  "):
            screen.write(line)
