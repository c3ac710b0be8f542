"""Mixing weight, step length and clipping threshold of the normalized optimizers, from what is known.

Noise has a p-th central moment: ``E ||g - grad f||^p <= sigma^p``, p in (1, 2]. With T steps, ``a = 1 -
momentum``, the smoothness L of f, ``Delta = f(w_0) - inf f`` and the Lipschitz constant rho of its Hessian,
all known:

    nsgdc      a = min(1, (L Delta / (sigma^2 T))^(p/(3p-2)))             gamma = sqrt(Delta a / (L T))
    nsgdc-vr   a = min(1, (L Delta / (sigma^2 T))^(p/(2p-1)))             gamma = sqrt(Delta a^(1/p) / (L T))
    a-nsgdc    a = min(1, (Delta^2 rho / (sigma^3 T^2))^(p/(5p-3)))
               gamma = min((Delta a^2 / (rho T))^(1/3), sqrt(Delta / (L T)))

    only p and T known
    nsgdc      a = T^(-p/(3p-2))     gamma = gamma_0 T^(-(2p-1)/(3p-2))
    nsgdc-vr   a = T^(-p/(2p-1))     gamma = gamma_0 a
    a-nsgdc    a = T^(-2p/(5p-3))    gamma = gamma_0 T^(-(3p-1)/(5p-3))

    only T known
    nsgdc      a = T^(-1/2)          gamma = gamma_0 T^(-3/4)

    clip = max(2 (||grad f(w_0)|| + gamma L T), sigma a^(-1/p))

Without noise a is 1. Exponents agree with Sun, Liu, Yuan, arXiv:2410.16561 (JMLR 26(237), 2025); constants
and the threshold come from the usual error recursion and are not the paper's. At its size clipping is rare;
a small fixed threshold, as is usual in practice, is biased where the noise is skewed.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from graftwork_optim_core.common.ranges import (
    is_number,
    require,
    require_not_negative,
    require_one_of,
    require_positive,
    require_whole,
)

ScheduleKind = Literal["nsgdc", "nsgdc-vr", "a-nsgdc"]
KINDS: tuple[ScheduleKind, ...] = ("nsgdc", "nsgdc-vr", "a-nsgdc")


class NormalizedSchedule(NamedTuple):
    """Options of a normalized optimizer.

    Args:
        lr: gamma, the length of a move.
        momentum: ``1 - a``.
        clip: largest norm of a gradient; None where it does not follow from what is known.
    """

    lr: float
    momentum: float
    clip: float | None


def nsgdc_schedule(
    kind: ScheduleKind,
    p: float | None,
    horizon: int,
    L: float | None = None,  # noqa: N803
    delta: float | None = None,
    sigma: float | None = None,
    rho: float | None = None,
    gamma0: float = 1.0,
    initial_gradient_norm: float | None = None,
) -> NormalizedSchedule:
    """Return step length, momentum and clipping threshold for a run of known length.

    Args:
        kind: "nsgdc", "nsgdc-vr" or "a-nsgdc".
        p: the moment of the noise that is finite, in (1, 2]; None if unknown, for "nsgdc" alone.
        horizon: steps of the run, 1 or more.
        L: smoothness of the objective, greater than 0; for "nsgdc-vr" that of every sample.
        delta: height of the start above the infimum, greater than 0.
        sigma: p-th root of the noise's p-th central moment, 0 or more.
        rho: Lipschitz constant of the Hessian, greater than 0; for "a-nsgdc" alone.
        gamma0: multiplies the step length where the constants are not given, greater than 0.
        initial_gradient_norm: of the start; with the constants it gives the threshold.

    Raises:
        ValueError: a number is out of its range, or some of the constants are given and others are missing.

    >>> lr, momentum, clip = nsgdc_schedule("nsgdc", 1.5, 10_000, L=2, delta=4, sigma=3)
    >>> f"{lr:.6g} {1 - momentum:.6g} {clip}"
    '0.000861329 0.00370944 None'
    >>> nsgdc_schedule("nsgdc", None, 10_000)
    NormalizedSchedule(lr=0.001, momentum=0.99, clip=None)
    """
    require_one_of("kind", kind, KINDS)
    require_whole("horizon", horizon, 1)
    require_positive("gamma0", gamma0)
    require(p is None or (is_number(p) and 1 < p <= 2), "p", "None or in (1, 2]", p)
    needed = {"L": L, "delta": delta, "sigma": sigma, **({"rho": rho} if kind == "a-nsgdc" else {})}
    if kind != "a-nsgdc" and rho is not None:
        raise ValueError(f"rho must be None for {kind!r}, which makes no use of it, got {rho!r}")
    given = {name: value for name, value in needed.items() if value is not None}
    if not given:
        if initial_gradient_norm is not None:
            raise ValueError(
                f"initial_gradient_norm must come with {', '.join(needed)}, from which the threshold follows"
            )
        return blind_schedule(kind, p, horizon, gamma0)
    missing = [name for name in needed if name not in given] + (["p"] if p is None else [])
    if missing:
        raise ValueError(
            f"{', '.join(missing)} must be given too: a schedule for known constants needs p, "
            f"{', '.join(needed)}, got {', '.join(given)}; give none of them for one by p and horizon"
        )
    for name, value in given.items():
        (require_not_negative if name == "sigma" else require_positive)(name, value)
    assert p is not None
    assert L is not None
    assert delta is not None
    assert sigma is not None
    mixing, length = _aware(kind, p, horizon, L, delta, sigma, rho)
    clip = None
    if initial_gradient_norm is not None:
        start = initial_gradient_norm
        require_not_negative("initial_gradient_norm", start)
        clip = max(2 * (start + length * L * horizon), sigma * mixing ** (-1 / p))
    return NormalizedSchedule(length, 1 - mixing, clip)


def _aware(
    kind: ScheduleKind,
    p: float,
    horizon: int,
    smoothness: float,
    delta: float,
    sigma: float,
    rho: float | None,
) -> tuple[float, float]:
    """Return a and gamma where the constants are known."""
    signal = smoothness * delta / horizon
    if kind == "a-nsgdc":
        assert rho is not None
        mixing = _ratio_power((delta / horizon) ** 2 * rho, sigma**3, p / (5 * p - 3))
        length = min(
            (delta * mixing**2 / (rho * horizon)) ** (1 / 3), math.sqrt(delta / (smoothness * horizon))
        )
        return mixing, length
    exponent = p / (3 * p - 2) if kind == "nsgdc" else p / (2 * p - 1)
    mixing = _ratio_power(signal, sigma**2, exponent)
    share = mixing if kind == "nsgdc" else mixing ** (1 / p)
    return mixing, math.sqrt(delta * share / (smoothness * horizon))


def _ratio_power(numerator: float, denominator: float, exponent: float) -> float:
    """Without noise, or with hardly any, all of the gradient is taken."""
    return 1.0 if denominator <= numerator else (numerator / denominator) ** exponent


def blind_schedule(kind: ScheduleKind, p: float | None, horizon: float, gamma0: float) -> NormalizedSchedule:
    if p is None:
        require(kind == "nsgdc", "p", f"in (1, 2] for {kind!r}", p)
        return NormalizedSchedule(gamma0 * horizon**-0.75, 1 - horizon**-0.5, None)
    mixing_exponent, length_exponent = decay_exponents(kind, p)
    return NormalizedSchedule(gamma0 * horizon**-length_exponent, 1 - horizon**-mixing_exponent, None)


def decay_exponents(kind: ScheduleKind, p: float) -> tuple[float, float]:
    """Return by which powers of 1 / T the mixing weight and the step length fall where p alone is known."""
    if kind == "nsgdc":
        return p / (3 * p - 2), (2 * p - 1) / (3 * p - 2)
    if kind == "nsgdc-vr":
        return p / (2 * p - 1), p / (2 * p - 1)
    return 2 * p / (5 * p - 3), (3 * p - 1) / (5 * p - 3)


def rate_exponent(kind: ScheduleKind, p: float) -> float:
    """Return by which power of 1 / T the theorem's bound on the mean gradient norm falls.

    >>> rate_exponent("nsgdc", 1.5), rate_exponent("nsgdc-vr", 1.5), round(rate_exponent("a-nsgdc", 1.5), 4)
    (0.2, 0.25, 0.2222)
    """
    if kind == "nsgdc":
        return (p - 1) / (3 * p - 2)
    return (p - 1) / (2 * p - 1) if kind == "nsgdc-vr" else (2 * p - 2) / (5 * p - 3)
