"""What S3Attention costs beside softmax attention, Nyström's and the authors' code: one table with its bars.

    python packages/attention/benchmarks/attention_cost.py [--peer FOLDER] [--quick] [--only WORD]

CPU time of the process in one thread, forward and backward with the gradient of the input, one sample unless
said; what a row compares runs in turn; its figure is the ratio of medians, with the range of single rounds.
``sdpa`` is this package's: torch's own kernels with the same projections. ``nystrom-attention`` is measured
where it is installed (`nox -s bench` installs it), the authors' S3 code where ``--peer`` names a clone of
github.com/wxie9/S3Attention, whose commit is printed. Every line ends with its verdict against the bar, and
then the goal.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from graftwork_attention import S3Attention
from graftwork_attention.mixers.nystrom import NystromAttention
from graftwork_attention.mixers.sdpa import SoftmaxAttention
from graftwork_attention.profile.measuring import Subject
from graftwork_attention.profile.reading import crossing, slope
from graftwork_attention.s3.skeleton import SkeletonAttention

Run = Callable[[], object]
HEADS = {64: 2, 512: 8}
PARTS = ("narrow", "wide", "pruning", "peer", "masking", "folding", "memory", "compiling")


class NaiveSkeleton(SkeletonAttention):
    """Projects every key and value and takes the chosen ones afterwards, as the paper writes it."""

    def _of_tokens(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        position, valid = self._chosen_positions(x, mask)
        keys, values = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2).index_select(2, position)
            for linear in (self.key, self.value)
        )
        return keys.contiguous(), values.contiguous(), valid

    def _of_channels(self, x: Tensor, q: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        keys, values = (
            linear(x).unflatten(-1, (self.heads, -1)).index_select(-1, self.channel_index)
            for linear in (self.key, self.value)
        )
        gram = torch.einsum("bnhe,bnhc->bhec", q, keys) / math.sqrt(x.shape[1])
        return values.contiguous(), gram.softmax(-1)


def naive_s3(dim: int, heads: int, max_len: int, *, layer_index: int = 0) -> nn.Module:
    attention = S3Attention(dim, heads, max_len, layer_index=layer_index)
    attention.skeleton.__class__ = NaiveSkeleton
    return attention


def medians(runs: Mapping[str, Run], rounds: int) -> tuple[dict[str, float], dict[str, list[float]]]:
    """CPU seconds of each, in turn, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            started = time.process_time()
            run()
            if number:
                times[name].append(time.process_time() - started)
    return {name: statistics.median(taken) for name, taken in times.items()}, times


def training(build: Callable[..., nn.Module], dim: int, length: int, batch: int = 1) -> Run:
    subject = Subject(
        build,
        dim=dim,
        heads=HEADS[dim],
        length=length,
        batch=batch,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    return subject.training


def line(what: str, figure: float, bar: str, holds: bool, goal: str, spread: str = "") -> None:
    verdict = "holds" if holds else "DOES NOT HOLD"
    print(f"{what:58} {figure:8.2f} {spread:15} bar {bar:8} {verdict:14} goal {goal}", flush=True)


def spread(one: list[float], other: list[float]) -> str:
    ratios = [a / b for a, b in zip(one, other, strict=True)]
    return f"({min(ratios):.2f}..{max(ratios):.2f})"


def speed_ups(dim: int, bars: Mapping[int, tuple[float, float]], lengths: list[int], rounds: int) -> None:
    """Softmax attention's time over S3's, at every length; the crossing and the slope."""
    curves: dict[str, dict[int, float]] = {"s3": {}, "sdpa": {}, "nystrom": {}}
    for length in lengths:
        runs = {
            "s3": training(S3Attention, dim, length),
            "sdpa": training(SoftmaxAttention, dim, length),
            "nystrom": training(NystromAttention, dim, length),
        }
        runs |= installed_nystrom(dim, length)
        found, times = medians(runs, rounds if length <= 4096 else max(2, rounds // 3))
        for name in curves:
            curves[name][length] = found[name]
        beside = ", ".join(
            f"{name} {found['sdpa'] / found[name]:.2f}" for name in found if name not in ("s3", "sdpa")
        )
        ratio = found["sdpa"] / found["s3"]
        what = f"d={dim} n={length}: sdpa over s3"
        if length in bars:
            bar, goal = bars[length]
            line(what, ratio, f">= {bar}", ratio >= bar, f"{goal}", spread(times["sdpa"], times["s3"]))
        else:
            print(f"{what:58} {ratio:8.2f}")
        print(f"    sdpa over {beside}", flush=True)
    if dim == 512:
        where = crossing(curves["s3"], curves["sdpa"])
        at = where.at if where.kind == "falls" else (0.0 if where.kind == "below" else math.inf)
        line("d=512: s3 is faster from so many tokens on", at, "<= 1350", at <= 1350, "1100")
    exponent = slope({n: seconds for n, seconds in curves["s3"].items() if 1024 <= n <= 8192})
    if not math.isnan(exponent):
        line(f"d={dim}: slope of s3, 1k to 8k", exponent, "<= 1.08", exponent <= 1.08, "1.0")


def installed_nystrom(dim: int, length: int) -> dict[str, Run]:
    try:
        version = importlib.metadata.version("nystrom-attention")
    except importlib.metadata.PackageNotFoundError:
        return {}
    from nystrom_attention import NystromAttention as Theirs

    def build(dim: int, heads: int, max_len: int, *, layer_index: int = 0) -> nn.Module:
        module: nn.Module = Theirs(dim=dim, dim_head=dim // heads, heads=heads, num_landmarks=64)
        return module

    return {f"nystrom-attention {version}": training(build, dim, length)}


def pruning(rounds: int) -> None:
    for dim, lengths, bar in ((512, (1024, 4096), 0.92), (64, (1024, 4096), 1.0)):
        for length in lengths:
            same(S3Attention, naive_s3, dim)
            runs = {
                "pruned": training(partial(S3Attention, fold_stem="never"), dim, length),
                "naive": training(naive_s3_unfolded, dim, length),
            }
            found, times = medians(runs, rounds)
            ratio = found["pruned"] / found["naive"]
            line(
                f"d={dim} n={length}: pruned over naive s3",
                ratio,
                f"<= {bar}",
                ratio <= bar,
                "0.82",
                spread(times["pruned"], times["naive"]),
            )


def naive_s3_unfolded(dim: int, heads: int, max_len: int, *, layer_index: int = 0) -> nn.Module:
    attention = S3Attention(dim, heads, max_len, layer_index=layer_index, fold_stem="never")
    attention.skeleton.__class__ = NaiveSkeleton
    return attention


def same(one: Callable[..., nn.Module], other: Callable[..., nn.Module], dim: int) -> None:
    """Refuse to compare what does not give the same numbers."""
    ours, theirs = one(dim, HEADS[dim], 128, layer_index=0), other(dim, HEADS[dim], 128, layer_index=0)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 128, dim)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def authors(folder: Path | None, rounds: int) -> None:
    """Our preset of the authors' settings beside their code."""
    if folder is None:
        print("over the authors' code: not measured, --peer names no clone of github.com/wxie9/S3Attention")
        return
    commit = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    print(f"the authors' code: {commit}")
    sys.path.insert(0, str(folder / "lra"))
    from attention1 import Attention as Theirs  # type: ignore[import-not-found]

    class Adapted(nn.Module):
        def __init__(self, dim: int, heads: int, max_len: int, *, layer_index: int = 0) -> None:
            super().__init__()
            self.attention = Theirs(
                SimpleNamespace(
                    attention_grad_checkpointing=False,
                    transformer_dim=dim,
                    head_dim=dim // heads,
                    num_head=heads,
                    max_seq_len=max_len,
                    attn_type="attention_SKT",
                    num_landmarks=8,
                    attention_dropout=0.0,
                    rnn_dropout=0.0,
                    pooling_mode="mean",
                    cls_token=False,
                )
            )

        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            y: Tensor = self.attention(x, torch.ones(x.shape[:2]))
            return y

    for dim, length in ((64, 1024), (64, 4096), (512, 4096)):
        ours = partial(S3Attention, preset="reference-lra")
        found, times = medians(
            {"ours": training(ours, dim, length, 2), "theirs": training(Adapted, dim, length, 2)}, rounds
        )
        ratio = found["ours"] / found["theirs"]
        line(
            f"d={dim} n={length}: s3 over the authors' code, same settings",
            ratio,
            "<= 0.9",
            ratio <= 0.9,
            "0.7",
            spread(times["ours"], times["theirs"]),
        )


def masking(rounds: int) -> None:
    for dim, length in ((64, 4096), (512, 4096)):
        module = S3Attention(dim, HEADS[dim], length, fold_stem="never")
        x, mask = torch.randn(4, length, dim), torch.ones(4, length, dtype=torch.bool)
        mask[1, length // 2 :] = False

        def both(mask: Tensor | None, module: nn.Module = module, x: Tensor = x) -> None:
            given = x.detach().requires_grad_()
            y = module(given, mask)
            torch.autograd.grad(y, [given, *module.parameters()], torch.ones_like(y))

        found, times = medians({"masked": partial(both, mask), "plain": partial(both, None)}, rounds)
        ratio = found["masked"] / found["plain"]
        line(
            f"d={dim} n={length} batch 4: masked over unmasked",
            ratio,
            "<= 1.05",
            ratio <= 1.05,
            "",
            spread(times["masked"], times["plain"]),
        )


def folding(rounds: int) -> None:
    dim, length = 512, 2048
    for batch, trained, bar in ((1, False, 0.72), (4, False, 0.72), (4, True, 0.80), (16, True, 0.80)):
        runs: dict[str, Run] = {}
        for kind in ("always", "never"):
            subject = Subject(
                partial(S3Attention, fold_stem=kind),
                dim=dim,
                heads=8,
                length=length,
                batch=batch,
                device=torch.device("cpu"),
                dtype=torch.float32,
            )
            runs[kind] = subject.training if trained else subject.forward
        found, times = medians(runs, rounds)
        ratio = found["always"] / found["never"]
        line(
            f"d={dim} batch {batch}: folded stem in {'training' if trained else 'evaluation'}",
            ratio,
            f"<= {bar}",
            ratio <= bar,
            "",
            spread(times["always"], times["never"]),
        )


def memory() -> None:
    for name, build in (("s3", S3Attention), ("sdpa", SoftmaxAttention), ("nystrom", NystromAttention)):
        subject = Subject(
            build,
            dim=512,
            heads=8,
            length=4096,
            batch=1,
            device=torch.device("cpu"),
            dtype=torch.float32,
        )
        megabytes = subject.saved_bytes() / 1e6
        what = f"d=512 n=4096: megabytes kept for backward, {name}"
        if name == "s3":
            line(what, megabytes, "<= 80", megabytes <= 80, "65")
        else:
            print(f"{what:58} {megabytes:8.2f}")


def compiling(rounds: int) -> None:
    for dim in (64, 512):
        module = S3Attention(dim, HEADS[dim], 4096, fold_stem="never")
        compiled = torch.compile(module, fullgraph=True)
        x = torch.randn(1, 4096, dim)
        torch.testing.assert_close(compiled(x), module(x), rtol=1e-3, atol=1e-3)

        def both(run: Callable[[Tensor], Tensor], module: nn.Module = module, x: Tensor = x) -> None:
            given = x.detach().requires_grad_()
            y = run(given)
            torch.autograd.grad(y, [given, *module.parameters()], torch.ones_like(y))

        found, times = medians({"compiled": partial(both, compiled), "eager": partial(both, module)}, rounds)
        ratio = found["compiled"] / found["eager"]
        line(
            f"d={dim} n=4096: torch.compile over eager",
            ratio,
            "<= 1.0",
            ratio <= 1.0,
            "0.9",
            spread(times["compiled"], times["eager"]),
        )


def sections(arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    rounds = 3 if arguments.quick else 7
    narrow = {1024: (1.7, 2.2), 2048: (3.2, 4.2), 4096: (6.5, 8.0)}
    wide = {4096: (2.2, 2.8), 8192: (4.0, 5.0), 16384: (6.0, 8.0)}
    lengths = [512, 1024, 2048, 4096, 8192] + ([] if arguments.quick else [16384])
    yield "narrow", partial(speed_ups, 64, narrow, [1024, 2048, 4096, 8192], rounds)
    yield "wide", partial(speed_ups, 512, wide, lengths, rounds)
    yield "pruning", partial(pruning, rounds)
    yield "peer", partial(authors, arguments.peer, rounds)
    yield "masking", partial(masking, rounds)
    yield "folding", partial(folding, rounds)
    yield "memory", memory
    yield "compiling", partial(compiling, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help="a clone of the authors' code")
    parser.add_argument("--quick", action="store_true", help="three rounds, up to 8,192 tokens")
    parser.add_argument("--only", choices=PARTS, help="one part of the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}")
    for name, run in sections(arguments):
        if arguments.only in (None, name):
            run()


if __name__ == "__main__":
    main()
