"""A profile as one page that needs nothing beside it, and as JSON."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import torch
from markupsafe import Markup

from graftwork_attention.profile import figures
from graftwork_attention.profile.drawing import draw
from graftwork_attention.profile.measuring import Cost
from graftwork_attention.profile.reading import slope
from graftwork_attention.profile.running import Setting
from graftwork_attention.profile.words import BASE, MEASURES, answer, curves, sentences
from graftwork_trainer.page import Cell, Table, write_page
from graftwork_trainer.page.templating import templates

_PACKAGE = "graftwork_attention.profile"
SHOWN: dict[str, Callable[[float], str]] = {
    "training": figures.seconds,
    "forward": figures.seconds,
    "saved": figures.size,
    "peak": figures.size,
}


def write(folder: Path, costs: Sequence[Cost], setting: Setting) -> None:
    """Write ``profile.json`` and ``profile.html``.

    Args:
        folder: made where it is not there.
        costs: that were measured.
        setting: at which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        **_plain(setting),
        "machine": machine(setting),
        "answer": answer(costs),
        "sentences": list(sentences(costs)),
        "slopes": {name: _number(slope(curve)) for name, curve in curves(costs, "training").items()},
        "costs": [asdict(cost) for cost in costs],
    }
    (folder / "profile.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    charts = [
        (heading[:1].upper() + heading[1:], draw(curves(costs, name), setting.lengths, SHOWN[name], heading))
        for name, heading in MEASURES.items()
    ]
    body = (
        templates(_PACKAGE)
        .get_template("profile.html.jinja")
        .render(
            title=heading(setting),
            answer=answer(costs),
            lead=lead(setting),
            charts=charts,
            sentences=list(sentences(costs)),
            table=_table(costs),
            machine=machine(setting),
        )
    )
    styles = (files(_PACKAGE) / "profile.css").read_text("utf-8")
    write_page(folder / "profile.html", Markup(body), title=heading(setting), styles=styles)


def heading(setting: Setting) -> str:
    """What was profiled."""
    batch = "" if setting.batch == 1 else f", batches of {setting.batch}"
    return f"Mixers of width {setting.dim} with {setting.heads} heads{batch}"


def lead(setting: Setting) -> str:
    """How it was measured."""
    how = (
        "CPU time of one thread" if setting.device.type == "cpu" else "time between two events on the device"
    )
    return (
        f"{how[:1].upper()}{how[1:]}, medians over rounds in which all mixers take their turn; weights and "
        f"inputs are {str(setting.dtype).removeprefix('torch.')}. Every mixer is built for the length at "
        "which it is measured, and has its projections inside. Bytes kept for backward are of what forward "
        "stores, parameters aside; peak memory is the most that both have allocated at a time. Memory is "
        f"linear in the tokens for {BASE} too, whose kernels write out no matrix of tokens by tokens."
    )


def machine(setting: Setting) -> str:
    """Where it was measured."""
    device = (
        torch.cuda.get_device_name(setting.device) if setting.device.type == "cuda" else platform.machine()
    )
    return f"torch {torch.__version__}, Python {platform.python_version()}, {device}"


def _table(costs: Sequence[Cost]) -> Table:
    return Table(
        "costs by mixer and length",
        ["mixer", "tokens", *MEASURES.values(), f"over {BASE}"],
        [list(_row(cost, costs)) for cost in costs if not cost.skipped],
    )


def _row(cost: Cost, costs: Sequence[Cost]) -> Iterator[Cell | str]:
    yield cost.mixer
    yield Cell(f"{cost.length:,}", float(cost.length))
    for name in MEASURES:
        value = curves([cost], name)[cost.mixer][cost.length]
        yield Cell(SHOWN[name](value), value)
    base = curves(costs, "training").get(BASE, {}).get(cost.length)
    ratio = cost.seconds("training") / base if base else None
    yield Cell("" if ratio is None else f"{ratio:.2f}", ratio)


def _plain(setting: Setting) -> dict[str, object]:
    return {
        "dim": setting.dim,
        "heads": setting.heads,
        "lengths": list(setting.lengths),
        "batch": setting.batch,
        "device": str(setting.device),
        "dtype": str(setting.dtype).removeprefix("torch."),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
