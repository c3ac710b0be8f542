"""What a run cost, and what its agents sent: the rows of a report below those of the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from graftwork import Direction
from graftwork_trainer.report.numerals import BYTES, LONG_TIMES, SHORT_TIMES
from graftwork_trainer.report.read import Result, RunRecord, Timing

COST, COMMUNICATION = "cost", "communication"

Units = tuple[tuple[float, str], ...]
Range = tuple[float, float]
_PLAIN: Units = ((1.0, ""),)
_DISTANCE, _SENT = "consensus_distance", "bytes_sent"


@dataclass(frozen=True, slots=True)
class Measure:
    """One quantity of a run.

    Args:
        key: of its row.
        title: for a reader.
        section: of the table.
        value: of a run, in base units; None where it was not measured.
        units: in which it may be shown.
        better: which way; None where neither is.
        spread: within a run, from the 10th to the 90th percentile; None where a run has one value.
        counted: whether it is a count, of which every digit means something.
        noisy: whether the value of a single run says little, as whatever else the machine did is in it.
    """

    key: str
    title: str
    section: str
    value: Callable[[RunRecord], float | None]
    units: Units = _PLAIN
    better: Direction | None = None
    spread: Callable[[RunRecord], Range | None] | None = None
    counted: bool = False
    noisy: bool = False


def measures_of(runs: Iterable[RunRecord]) -> list[Measure]:
    """Every quantity that some of the runs may have, in the order of their rows."""
    runs = list(runs)
    told = {run.result.unit for run in runs if run.result and run.result.unit}
    per_second = ((1.0, f"{told.pop() if len(told) == 1 else 'units'}/s"),)
    step, own_step = "step_seconds", "optimizer_step_seconds"
    rows = [
        *_communication(runs),
        Measure(
            "optimizer_state_bytes",
            "optimizer state",
            COST,
            _of("optimizer_state_bytes"),
            BYTES,
            "lower",
            counted=True,
        ),
        Measure("peak_memory_bytes", "peak memory", COST, _of("peak_memory_bytes"), BYTES, "lower"),
        Measure(step, "step time", COST, _median(step), SHORT_TIMES, "lower", _middle(step)),
        Measure(own_step, "optimizer step", COST, _median(own_step), SHORT_TIMES, "lower", _middle(own_step)),
        Measure(
            "units_per_second",
            "throughput",
            COST,
            _of("units_per_second"),
            per_second,
            "higher",
            _middle_throughput,
        ),
        Measure("wall_seconds", "wall time", COST, _of("wall_seconds"), LONG_TIMES, "lower", noisy=True),
    ]
    if len({run.result.parameters for run in runs if run.result} - {None}) > 1:
        rows.append(Measure("parameters", "parameters", COST, _of("parameters"), counted=True))
    return rows


def _communication(runs: Iterable[RunRecord]) -> list[Measure]:
    """How far agents are apart at the end, at each level of several, and what all of them sent."""
    names = dict.fromkeys(name for run in runs for name in _communicated(run))
    distances = [
        Measure(name, name.replace("_", " "), COMMUNICATION, _communicated_as(name))
        for name in names
        if name.startswith(_DISTANCE)
    ]
    return [
        *distances,
        Measure(_SENT, "sent by all agents", COMMUNICATION, _communicated_as(_SENT), BYTES, "lower"),
    ]


def _communicated(run: RunRecord) -> dict[str, float]:
    """What a run told of its agents at its end, or at its latest record."""
    ended = run.ended_with
    recorded = {
        name.removeprefix("train/"): curve.values[-1]
        for name, curve in ended.curves.items()
        if name.removeprefix("train/").startswith((_DISTANCE, _SENT))
    }
    return recorded | dict(ended.result.communication if ended.result else {})


def _communicated_as(name: str) -> Callable[[RunRecord], float | None]:
    return lambda run: _communicated(run).get(name)


def _of(name: str) -> Callable[[RunRecord], float | None]:
    return lambda run: getattr(run.result, name) if run.result else None


def _timing(result: Result | None, name: str) -> Timing | None:
    found: Timing | None = getattr(result, name, None)
    return found


def _median(name: str) -> Callable[[RunRecord], float | None]:
    return lambda run: timing.median if (timing := _timing(run.result, name)) else None


def _middle(name: str) -> Callable[[RunRecord], Range | None]:
    def spread(run: RunRecord) -> Range | None:
        timing = _timing(run.result, name)
        if timing is None or timing.p10 is None or timing.p90 is None:
            return None
        return timing.p10, timing.p90

    return spread


def _middle_throughput(run: RunRecord) -> Range | None:
    """As step times have it: what is counted in a step is the same in each."""
    timing, middle = _timing(run.result, "step_seconds"), _middle("step_seconds")(run)
    per_second = run.result.units_per_second if run.result else None
    if timing is None or middle is None or per_second is None or not middle[0]:
        return None
    in_a_step = per_second * timing.median
    return in_a_step / middle[1], in_a_step / middle[0]
