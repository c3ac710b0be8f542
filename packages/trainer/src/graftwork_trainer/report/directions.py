"""Which way each metric of a report is better, and which of them a reader wants first: what its runs say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graftwork import Direction
from graftwork_trainer.report.metrics import by_group, full_title
from graftwork_trainer.report.read import RunRecord


@dataclass(frozen=True, slots=True)
class Directions:
    """What the runs of one report say together.

    Args:
        better: direction of the metrics on which all runs that have them agree.
        order: every metric that a run gives a direction, the most important first.
        contradicted: metrics that are better lower in one run and higher in another.
        unsaid: metrics whose direction some of the runs that have them say, and others do not.
    """

    better: Mapping[str, Direction]
    order: tuple[str, ...]
    contradicted: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()

    def arrange(self, metrics: Iterable[str]) -> list[str]:
        """In the order of importance, then what no run speaks of, by group and name."""
        wanted = set(metrics)
        spoken_of = [metric for metric in self.order if metric in wanted]
        return spoken_of + by_group(wanted.difference(spoken_of))

    def remarks(self) -> list[str]:
        """A sentence for each way in which the runs do not agree."""
        cases = (
            (self.contradicted, "The runs contradict each other on"),
            (self.unsaid, "Not every run says"),
        )
        return [
            f"{complaint} which way {_listed(metrics)} is better, so no direction is shown."
            for metrics, complaint in cases
            if metrics
        ]


def agreed_directions(runs: Iterable[RunRecord]) -> Directions:
    """Compare what the runs say; of one metric, a run that never recorded it need not say anything."""
    runs = list(runs)
    order = dict.fromkeys(metric for run in runs for metric in run.directions)
    better: dict[str, Direction] = {}
    contradicted, unsaid = [], []
    for metric in order:
        said = {run.directions.get(metric) for run in runs if metric in run.directions or run.has(metric)}
        if {"lower", "higher"} <= said:
            contradicted.append(metric)
        elif None in said:
            unsaid.append(metric)
        else:
            better[metric] = next(run.directions[metric] for run in runs if metric in run.directions)
    return Directions(better, tuple(order), tuple(contradicted), tuple(unsaid))


def _listed(metrics: Iterable[str]) -> str:
    *others, last = map(full_title, metrics)
    return f"{', '.join(others)} or {last}" if others else last
