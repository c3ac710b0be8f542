"""What is drawn of one metric of a variant: mean and range over seeds, single seeds, training beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graftwork_trainer.report.aggregate import Axis, Band, Track, band, raw_track, smooth, track
from graftwork_trainer.report.palette import Style
from graftwork_trainer.report.read import RunRecord
from graftwork_trainer.report.thinning import thin_band, thin_track
from graftwork_trainer.report.variants import Variant

_SMOOTHED_FROM = 40


@dataclass(frozen=True, slots=True)
class Strand:
    """What is drawn of one variant.

    Args:
        label: the variant's, with its status where it did not complete.
        style: of its marks.
        faint: what lies behind the line: raw values where it is smoothed, single seeds where it is a mean.
        centre: the mean over seeds, or the one seed there is; of complete runs, unless none is.
        interrupted: runs that did not reach their end.
        training: the same quantity on training data, a mean over the same runs; None where it is not shown.
        complete: whether a run of it reached its end.
    """

    label: str
    style: Style
    faint: tuple[Track, ...]
    centre: Band | None
    interrupted: tuple[Track, ...]
    training: Band | None
    complete: bool

    @property
    def lines(self) -> Iterator[Track]:
        """Whatever of it has to be seen, as tracks."""
        for one in (self.centre, self.training):
            if one is not None:
                sides = (one.mean, one.low, one.high) if one.count > 1 else (one.mean,)
                yield from (Track(one.x, values) for values in sides)


def tracks_of(
    metric: str, runs: Sequence[RunRecord], axis: Axis, scale: float = 1.0
) -> list[tuple[Track, RunRecord]]:
    """The metric of every run that recorded it, against steps, or against seconds divided by ``scale``."""
    found = [(track(run.curves[metric], axis), run) for run in runs if metric in run.curves]
    return [(Track(one.x / scale, one.y), run) for one, run in found if one.x.size]


def window_for(points: int) -> int:
    """Over how many points a training curve of so many is averaged: an odd number, 1 for not at all.

    >>> window_for(20), window_for(600)
    (1, 21)
    """
    return 1 + 2 * (points // 60) if points >= _SMOOTHED_FROM else 1


def strand_of(
    variant: Variant,
    style: Style,
    *,
    metric: str,
    training: str | None,
    axis: Axis,
    scale: float,
    window: int,
    most_points: int,
) -> Strand:
    """Collect what is drawn of one variant.

    Args:
        variant: with its runs.
        style: of its marks.
        metric: its full name.
        training: full name of the metric to show beside it, None for none.
        axis: the horizontal one.
        scale: what seconds are divided by.
        window: points that the metric is averaged over.
        most_points: of every line.
    """
    tracks = tracks_of(metric, variant.runs, axis, scale)
    complete = [one for one, run in tracks if run.complete]
    counted = complete or [one for one, _ in tracks]
    interrupted = [smooth(one, window) for one, run in tracks if not run.complete]
    shows_faint = style.coloured and (window > 1 or len(counted) > 1)
    return Strand(
        label=f"{variant.label} ({variant.status})" if variant.status else variant.label,
        style=style,
        faint=_faint(metric, variant, axis, scale, most_points) if shows_faint else (),
        centre=_thin(band([smooth(one, window) for one in counted]), most_points),
        interrupted=tuple(thin_track(one, most_points) for one in interrupted),
        training=_training(training, variant, axis, scale, most_points) if training else None,
        complete=bool(complete),
    )


def _faint(metric: str, variant: Variant, axis: Axis, scale: float, most_points: int) -> tuple[Track, ...]:
    raw = [raw_track(run.curves[metric], axis) for run in variant.runs if metric in run.curves]
    return tuple(thin_track(Track(one.x / scale, one.y), most_points) for one in raw if one.x.size)


def _training(metric: str, variant: Variant, axis: Axis, scale: float, most_points: int) -> Band | None:
    tracks = [one for one, _ in tracks_of(metric, variant.counted_runs, axis, scale)]
    window = window_for(max((one.x.size for one in tracks), default=0))
    return _thin(band([smooth(one, window) for one in tracks]), most_points)


def _thin(whole: Band | None, most_points: int) -> Band | None:
    return None if whole is None else thin_band(whole, most_points)
