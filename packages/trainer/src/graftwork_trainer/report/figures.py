"""Which figures a report has, the most important first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from graftwork_trainer.report import curves, metrics, step_times, trade_off
from graftwork_trainer.report.aggregate import Axis
from graftwork_trainer.report.drawing import Exhibit, Plot
from graftwork_trainer.report.palette import Palette
from graftwork_trainer.report.table import ResultTable
from graftwork_trainer.report.variants import Variant

_MOST_FURTHER_METRICS = 12
_BOTH: tuple[Axis, ...] = ("step", "seconds")


def plan_figures(variants: Sequence[Variant], table: ResultTable, palette: Palette) -> list[Exhibit]:
    """Choose the figures that the runs have data for.

    The first metric, and the first that has a training metric of its name beside it, lead, and can be seen by
    step and by wall time.
    """
    recorded = {name for variant in variants for run in variant.runs for name in run.curves}
    training = {name for name in recorded if metrics.group(name) == "train"}
    judged = table.directions.arrange(recorded - training)
    primary = table.primary.key if table.primary and table.primary.key in judged else None
    first = [primary or judged[0]] if judged else []
    twins = {name: twin for name in judged if (twin := curves.training_beside(name, variants))}
    leading = list(dict.fromkeys([*first, *[name for name in judged if name in twins][:1]]))
    shown = {twins[name] for name in leading if name in twins}
    if metrics.TRAINING_LOSS in training - shown:
        leading.append(metrics.TRAINING_LOSS)
    further = [name for name in judged if name not in leading]
    further += table.directions.arrange(training - shown - set(leading))

    def curve(name: str, axes: Sequence[Axis], *, leads: bool) -> Exhibit | None:
        better = table.directions.better.get(name)
        return curves.exhibit(name, variants, palette, axes=axes, better=better, leading=leads)

    exhibits = [curve(name, _BOTH, leads=True) for name in leading]
    exhibits += [trade_off.exhibit(table, palette), step_times.exhibit(variants, palette)]
    exhibits += [curve(name, ("step",), leads=False) for name in further[:_MOST_FURTHER_METRICS]]
    return _named_apart([one for one in exhibits if one is not None])


def _named_apart(exhibits: Sequence[Exhibit]) -> list[Exhibit]:
    """Two metrics may be called the same but for what no file name holds: a number behind the later one."""
    taken: set[str] = set()

    def apart(plot: Plot) -> Plot:
        names = itertools.chain([plot.name], (f"{plot.name}-{number}" for number in itertools.count(2)))
        # Some file systems take `A` and `a` for one.
        name = next(name for name in names if name.casefold() not in taken)
        taken.add(name.casefold())
        return replace(plot, name=name)

    return [replace(one, plots=tuple(map(apart, one.plots))) for one in exhibits]
