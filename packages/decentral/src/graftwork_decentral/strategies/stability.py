"""When a strategy contracts on a quadratic that all agents share.

With curvature h, step a and an eigenvalue lambda of W, the two modes of a triple (A, B^2, C) are the roots of

    s^2 - (1 + C - B^2 - a h A) s + (C - a h A) = 0

(derived from ``s+ = (I + C - B^2) s - C s_prev - a A (g - g_prev)``). All must lie inside the unit circle for
``lambda != 1``; for ``lambda = 1`` the rule is gradient descent, which asks ``a h < 2``.
"""

from __future__ import annotations

import cmath
from collections.abc import Iterable, Sequence

Polynomial = tuple[float, ...]
_SMALL_STEPS = (1e-7, 1e-5, 1e-3)


def at_eigenvalue(coefficients: Polynomial, eigenvalue: complex) -> complex:
    """Evaluate a polynomial, the coefficient of power 0 first."""
    value: complex = 0.0
    for coefficient in reversed(coefficients):
        value = value * eigenvalue + coefficient
    return value


def mode_radius(
    a: Polynomial, b_squared: Polynomial, c: Polynomial, eigenvalue: complex, step_times_curvature: float
) -> float:
    """Return the larger modulus of the two modes.

    >>> round(mode_radius((0.0, 1.0), (1.0, -1.0), (0.0, 1.0), 0.5, 0.1), 6)  # exact diffusion
    0.67082
    """
    pull = step_times_curvature * at_eigenvalue(a, eigenvalue)
    kept = at_eigenvalue(c, eigenvalue)
    if not any(b_squared):
        # Without a correction the second mode is the sum over all steps, which nothing reads.
        return abs(kept - pull)
    half_trace = (1 + kept - at_eigenvalue(b_squared, eigenvalue) - pull) / 2
    root = cmath.sqrt(half_trace**2 - (kept - pull))
    return max(abs(half_trace + root), abs(half_trace - root))


def stable_for_small_steps(
    a: Polynomial, b_squared: Polynomial, c: Polynomial, eigenvalues: Iterable[complex]
) -> bool:
    """Whether disagreement dies out when the step is small enough."""
    return all(
        mode_radius(a, b_squared, c, eigenvalue, step) < 1
        for eigenvalue in eigenvalues
        for step in _SMALL_STEPS
    )


def largest_stable_step(
    a: Polynomial,
    b_squared: Polynomial,
    c: Polynomial,
    eigenvalues: Sequence[complex],
    *,
    resolution: float = 1e-4,
) -> float:
    """Return the bound on step times largest curvature, 0 where no step is stable.

    It is the first crossing of the unit circle, found on a grid and refined by bisection.

    Args:
        a, b_squared, c: the triple.
        eigenvalues: of W, the mean's left out.
        resolution: of the answer.

    >>> round(largest_stable_step((1.0,), (1.0, -1.0), (0.0, 1.0), [0.5, 0.0]), 3)  # EXTRA: (1 + 3 * 0) / 2
    0.5
    """

    def stable(step: float) -> bool:
        return step < 2 and all(mode_radius(a, b_squared, c, value, step) < 1 for value in eigenvalues)

    if not stable_for_small_steps(a, b_squared, c, eigenvalues):
        return 0.0
    low, spacing = _SMALL_STEPS[-1], 0.01
    while stable(low + spacing):
        low += spacing
    high = low + spacing
    while high - low > resolution:
        middle = (low + high) / 2
        low, high = (middle, high) if stable(middle) else (low, middle)
    return 2.0 if low > 2 - 2 * resolution else low
