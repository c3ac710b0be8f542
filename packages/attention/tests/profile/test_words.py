"""The sentences of a profile, from made-up costs."""

from __future__ import annotations

from graftwork_attention.profile.measuring import Cost
from graftwork_attention.profile.words import answer, curves, sentences

LENGTHS = (100, 200, 400)


def cost(mixer: str, length: int, seconds: float, saved: int) -> Cost:
    return Cost(mixer, length, [seconds / 3], [seconds], saved, 2 * saved)


def quadratic_and(mixer: str, seconds: float, saved: int = 30) -> list[Cost]:
    own = [cost(mixer, length, seconds * length, saved * length) for length in LENGTHS]
    return [*own, *(cost("sdpa", length, length**2 / 1e4, 20 * length) for length in LENGTHS)]


def test_a_linear_mixer_is_told_from_where_on_it_is_faster() -> None:
    costs = quadratic_and("s3", 0.025)
    assert next(sentences(costs)) == (
        "s3 is faster than sdpa from about 250 tokens on; it keeps more bytes for backward at every length."
    )
    assert answer(costs) == (
        "s3 from about 250 tokens on is faster than sdpa; none keeps fewer bytes for the backward pass than "
        "sdpa, whose kernels keep no matrix of tokens by tokens."
    )


def test_one_that_is_never_faster_and_one_that_always_is() -> None:
    assert answer(quadratic_and("s3", 1.0)).startswith("No other mixer is faster than sdpa at these lengths")
    assert answer(quadratic_and("fnet", 1e-3, saved=5)) == (
        "fnet is faster than sdpa at every length here; fnet keeps fewer bytes for the backward pass."
    )


def test_the_order_at_the_largest_length_is_that_of_the_figures() -> None:
    costs = [*quadratic_and("s3", 0.025), *quadratic_and("nystrom", 0.02)[:3]]
    assert (
        "At 400 tokens the order by time is nystrom, s3, sdpa; by bytes kept for backward it is sdpa, s3, "
        "nystrom."
    ) in list(sentences(costs))
    assert answer(costs).startswith(
        "nystrom from about 200 tokens on, s3 from about 250 tokens on are faster than sdpa"
    )


def test_what_was_not_measured_is_told_and_in_no_curve() -> None:
    costs = [*quadratic_and("s3", 0.025), Cost("s4d", 400, skipped="it might take 50 of the 10 seconds")]
    assert "s4d" not in curves(costs, "training")
    assert list(sentences(costs))[-1] == (
        "s4d was not measured at 400 tokens: it might take 50 of the 10 seconds."
    )


def test_without_softmax_attention_there_is_nothing_to_compare() -> None:
    costs = quadratic_and("s3", 0.025)[:3]
    assert answer(costs).startswith("There is nothing to compare")
    assert not any("faster" in sentence for sentence in sentences(costs))
