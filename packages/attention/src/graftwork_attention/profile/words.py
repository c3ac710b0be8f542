"""What the figures of a profile say, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from graftwork_attention.profile.measuring import Cost
from graftwork_attention.profile.reading import Crossing, crossing, fastest, nearest

BASE = "sdpa"
"""What every other mixer is held beside."""

Measure = str
MEASURES: Mapping[Measure, str] = {
    "training": "forward and backward",
    "forward": "forward alone",
    "saved": "bytes kept for backward",
    "peak": "peak memory",
}


def curves(costs: Sequence[Cost], measure: Measure) -> dict[str, dict[int, float]]:
    """Costs by length for every mixer that has any."""
    found: dict[str, dict[int, float]] = {}
    for cost in costs:
        if not cost.skipped:
            found.setdefault(cost.mixer, {})[cost.length] = _figure(cost, measure)
    return found


def _figure(cost: Cost, measure: Measure) -> float:
    if measure in ("training", "forward"):
        return cost.seconds(measure)
    return float(cost.saved_bytes if measure == "saved" else cost.peak_bytes)


def sentences(costs: Sequence[Cost]) -> Iterator[str]:
    """One on every mixer beside softmax attention, one on the order at the largest length, one a gap."""
    time, saved = curves(costs, "training"), curves(costs, "saved")
    if BASE in time:
        for name in time:
            if name != BASE:
                yield _beside(name, crossing(time[name], time[BASE]), crossing(saved[name], saved[BASE]))
    longest = max((cost.length for cost in costs if not cost.skipped), default=0)
    order = fastest(time, longest)
    if len(order) > 1:
        yield (
            f"At {longest:,} tokens the order by time is {', '.join(order)}; by bytes kept for backward it "
            f"is {', '.join(fastest(saved, longest))}."
        )
    for cost in costs:
        if cost.skipped:
            yield f"{cost.mixer} was not measured at {cost.length:,} tokens: {cost.skipped}."


def answer(costs: Sequence[Cost]) -> str:
    """Whether another mixer than softmax attention is worth it at these lengths, by time and by memory."""
    time, saved = curves(costs, "training"), curves(costs, "saved")
    others = [name for name in time if name != BASE]
    if BASE not in time or not others:
        return f"There is nothing to compare: {BASE} and another mixer are needed."
    starts = {name: crossing(time[name], time[BASE]) for name in others}
    always = [name for name in others if starts[name].kind == "below"]
    later = sorted((starts[name].at, name) for name in others if starts[name].kind == "falls")
    told = []
    if always:
        told.append(f"{_joined(always)} {_be(always)} faster than {BASE} at every length here")
    if later:
        turns = ", ".join(f"{name} from about {nearest(at)} tokens on" for at, name in later)
        told.append(f"{turns} {_be(later)} faster{'' if always else f' than {BASE}'}")
    if not told:
        told.append(f"No other mixer is faster than {BASE} at these lengths")
    fewer = [name for name in others if crossing(saved[name], saved[BASE]).kind in ("below", "falls")]
    memory = (
        f"{_joined(fewer)} {'keeps' if len(fewer) == 1 else 'keep'} fewer bytes for the backward pass"
        if fewer
        else f"none keeps fewer bytes for the backward pass than {BASE}, whose kernels keep no matrix of "
        "tokens by tokens"
    )
    return f"{'; '.join(told)}; {memory}."


def _beside(name: str, time: Crossing, saved: Crossing) -> str:
    return f"{name} {_TIME[time.kind].format(at=_tokens(time))}; it {_saved(saved)}."


_TIME = {
    "below": f"is faster than {BASE} at every length here",
    "above": f"is slower than {BASE} at every length here",
    "alike": f"takes as long as {BASE}",
    "falls": f"is faster than {BASE} from about {{at}} tokens on",
    "rises": f"is slower than {BASE} from about {{at}} tokens on",
    "unknown": f"has no length in common with {BASE}",
}


def _tokens(where: Crossing) -> str:
    return "" if math.isnan(where.at) else nearest(where.at)


def _saved(saved: Crossing) -> str:
    at = _tokens(saved)
    return {
        "below": "keeps fewer bytes for backward at every length",
        "above": "keeps more bytes for backward at every length",
        "alike": "keeps as many bytes for backward",
        "falls": f"keeps fewer bytes for backward from about {at} tokens on",
        "rises": f"keeps more bytes for backward from about {at} tokens on",
        "unknown": "cannot be compared in bytes",
    }[saved.kind]


def _joined(names: Sequence[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _be(names: Sequence[object]) -> str:
    return "is" if len(names) == 1 else "are"
