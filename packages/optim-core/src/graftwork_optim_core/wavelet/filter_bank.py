"""Discrete wavelet transforms of the rows of a matrix, in any orthogonal basis that PyWavelets knows.

Source: the two-channel filter bank of Mallat, "A theory for multiresolution signal decomposition" (1989), as
Gradient Wavelet Transform, arXiv:2501.07237, uses it. With filters h, g of even length L, one level takes a
row x of n columns, continued beyond both edges, to K = floor((n + L - 1) / 2) pairs

    low[k] = sum_j h[j] x[2k + 1 - j],        high[k] = sum_j g[j] x[2k + 1 - j],        k = 0..K-1,

and the next level takes ``low``. The inverse is the transpose. Coefficients, widths and boundary modes are
those of ``pywt.wavedec`` and ``pywt.waverec``.

Shapes: ``[rows, width]``; coefficients ``[A_l, D_l, ..., D_1]``, each ``[rows, its own width]``. Raises
ValueError for a basis that is unknown or not orthogonal and for a wrong mode, level, dtype, shape or width;
ImportError without PyWavelets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from graftwork_optim_core.numerics.haar import spread_blocks

BoundaryMode = Literal["zero", "constant", "reflect", "periodic", "symmetric"]
"""How a row goes on beyond its edges: 0 | its edge | mirrored at its edge | repeated | mirrored beyond it."""

BOUNDARY_MODES: tuple[BoundaryMode, ...] = get_args(BoundaryMode)

# The tables of the sym family are off by up to 1.4e-11, the other true ones by rounding only. That of dmey,
# an infinite filter cut short, is off by 2e-3 and would not reconstruct.
_ORTHOGONALITY_TOLERANCE = 1e-9

_ALLOWED = "allowed: haar, db1 to db38, sym2 to sym20, coif1 to coif17"


@dataclass(frozen=True, slots=True)
class FilterBank:
    """An orthogonal pair of filters, and the transforms it makes; made by :meth:`named`.

    Args:
        name: of the wavelet.
        low: h, the analysis filter of the approximations, L coefficients.
        high: g, that of the details.

    >>> bank = FilterBank.named("db2")
    >>> gradient = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    >>> coefficients = bank.analyze(gradient, level=2)
    >>> [part.shape[1] for part in coefficients], bank.coefficient_widths(5, level=2)
    ([3, 3, 4], (3, 3, 4))
    >>> bank.synthesize(coefficients, width=5).round(decimals=4)
    tensor([[1., 2., 3., 4., 5.]])
    """

    # Sums of L slices of the two phases (odd and even columns). Measured on one CPU core, in float32 and
    # float64, on rows of 1376 columns, db2 to db8:
    # - a strided convolution took 1.3 to 11 times as long; besides, on CUDA its float32 is TF32 unless a
    #   global flag says otherwise, as a product with a banded matrix follows the matmul precision;
    # - the same sums over strided slices, without making the phases: a strided operand costs 2.5 times a
    #   contiguous one, and there are 2 L of them;
    # - one broadcast sum for both filters: as long, and the filters have to be on the device;
    # - a lattice of L / 2 rotations, half as many multiply-adds: up to 25 % less time, but none gives back
    #   the sym filters, or those beyond db12, to 1e-12.

    name: str
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def named(cls, name: str) -> FilterBank:
        """Return the bank of the orthogonal PyWavelets wavelet of this name; always the same object.

        Raises:
            ValueError: no such wavelet, or not an orthogonal one.
            ImportError: PyWavelets is not installed.

        >>> [round(tap, 4) for tap in FilterBank.named("db2").low]
        [-0.1294, 0.2241, 0.8365, 0.483]
        """
        return _orthogonal_bank(name)

    @property
    def _half_length(self) -> int:
        """How many columns of either phase a coefficient sees."""
        return len(self.low) // 2

    def coefficient_widths(self, width: int, level: int) -> tuple[int, ...]:
        """Return the widths of ``A_l, D_l, ..., D_1`` for rows of ``width`` columns.

        >>> FilterBank.named("db2").coefficient_widths(5461, 2)
        (1367, 1367, 2732)
        """
        if level < 0:
            raise ValueError(f"level must be 0 or more, got {level}")
        details: list[int] = []
        for _ in range(level):
            # Nothing has no coefficients, though the formula would continue it by the filter.
            width = (width + len(self.low) - 1) // 2 if width else 0
            details.insert(0, width)
        return (width, *details)

    def analyze(self, matrix: Tensor, level: int, mode: BoundaryMode = "zero") -> list[Tensor]:
        """Transform every row, of any width, as ``pywt.wavedec(matrix, name, mode, level)`` does.

        A row of one column, which PyWavelets refuses to reflect, goes on as itself.

        Args:
            matrix: ``[rows, width]``, float32 or float64.
            level: 0 or more; at level 0 the matrix itself is the approximation.
            mode: how a row goes on beyond its edges.

        Returns:
            ``[A_l, D_l, ..., D_1]``, freshly made (but for level 0) and contiguous.

        >>> FilterBank.named("haar").analyze(torch.tensor([[3.0, 1.0]]), 1)
        [tensor([[2.8284]]), tensor([[1.4142]])]
        """
        _check_request(matrix, level, mode)
        details: list[Tensor] = []
        for _ in range(level):
            phases = self._phases(matrix, mode)
            matrix = _weighted_sum(phases, self.low)
            details.insert(0, _weighted_sum(phases, self.high))
        return [matrix, *details]

    def approximate(self, matrix: Tensor, level: int, mode: BoundaryMode = "zero") -> Tensor:
        """Return ``A_l`` alone, the first of what :meth:`analyze` returns, in about two thirds of its time.

        >>> FilterBank.named("haar").approximate(torch.tensor([[3.0, 1.0]]), 1)
        tensor([[2.8284]])
        """
        _check_request(matrix, level, mode)
        for _ in range(level):
            matrix = _weighted_sum(self._phases(matrix, mode), self.low)
        return matrix

    def synthesize(self, coefficients: Sequence[Tensor | None], width: int) -> Tensor:
        """Invert :meth:`analyze`, whatever its mode was; as ``pywt.waverec``, cut to ``width`` columns.

        Exact to rounding; with the sym family, whose tables are less exact, to 1e-10.

        Args:
            coefficients: ``[A_l, D_l, ..., D_1]``, of the widths that :meth:`coefficient_widths` gives; None
                in the place of zeros saves their share of the work. One at least must be there.
            width: of the matrix that was transformed.

        Returns:
            ``[rows, width]``, rows contiguous in themselves; freshly made (but for level 0).

        >>> bank = FilterBank.named("haar")
        >>> bank.synthesize([torch.tensor([[8.0 ** 0.5]]), torch.tensor([[2.0 ** 0.5]])], 2).round(decimals=4)
        tensor([[3., 1.]])
        >>> bank.synthesize([torch.tensor([[8.0 ** 0.5]]), None], 2).round(decimals=4)
        tensor([[2., 2.]])
        """
        level = len(coefficients) - 1
        for part in coefficients:
            if part is not None:
                _check_matrix(part)
        expected = self.coefficient_widths(width, level)
        found = tuple(None if part is None else part.shape[1] for part in coefficients)
        if any(have not in (None, want) for have, want in zip(found, expected, strict=True)):
            raise ValueError(
                f"coefficients must have the widths {expected} that basis {self.name!r} gives rows of {width}"
                f" columns at level {level}, got {found}"
            )
        matrix = coefficients[0]
        for detail, detail_width in zip(coefficients[1:], expected[1:], strict=True):
            matrix = self._merge(None if matrix is None else matrix[:, :detail_width], detail)
        if matrix is None:
            raise ValueError("coefficients must not all be None, whose rows nobody could count")
        return matrix[:, :width]

    def spread(self, coarse: Tensor, details: Sequence[Tensor]) -> list[Tensor]:
        """Repeat what belongs to the approximations over the details, twice as often from level to level.

        Entry i of the part for ``D_j`` is entry ``i >> (l - j)`` of ``coarse``. There are always enough of
        them, as a level makes at least half as many coefficients as it is given columns.

        Args:
            coarse: of the shape of ``A_l``, float32 or float64.
            details: ``D_l, ..., D_1``; only their shapes are looked at.

        Returns:
            For each of the details a tensor of its shape; the first is ``coarse`` itself.

        >>> details = [torch.zeros(1, 2), torch.zeros(1, 3)]
        >>> FilterBank.named("haar").spread(torch.tensor([[1.0, 2.0]]), details)
        [tensor([[1., 2.]]), tensor([[1., 1., 2.]])]
        """
        parts: list[Tensor] = []
        for detail in details:
            parts.append(spread_blocks(parts[-1], 1, detail.shape[1]) if parts else coarse)
            if parts[-1].shape != detail.shape:
                raise ValueError(
                    f"coarse must have the shape of the coarsest details, each further one at most twice as"
                    f" wide, got {list(coarse.shape)} for {[list(part.shape) for part in details]}"
                )
        return parts

    def _phases(self, matrix: Tensor, mode: BoundaryMode) -> list[Tensor]:
        """Return for each tap what it is multiplied by, ``[rows, K]``: slices of the odd and even columns."""
        reach, count = self._half_length - 1, self.coefficient_widths(matrix.shape[1], 1)[0]
        odd = _phase(matrix, 1, reach, count, mode)
        even = _phase(matrix, 0, reach, count, mode)
        return [part[:, start : start + count] for start in range(reach, -1, -1) for part in (odd, even)]

    def _merge(self, low: Tensor | None, high: Tensor | None) -> Tensor | None:
        """Return the columns of one level, one too many where their number was odd."""
        windows: list[Tensor] = []
        taps: list[float] = []
        for part, its_taps in ((low, self.low), (high, self.high)):
            if part is not None:
                kept = part.shape[1] - self._half_length + 1
                windows += [part[:, start : start + kept] for start in range(self._half_length)]
                taps += its_taps
        if not windows:
            return None
        # Column 2k + 1 - j went into coefficient k by tap j: the odd columns by the even taps.
        odd, even = _weighted_sum(windows, taps[0::2]), _weighted_sum(windows, taps[1::2])
        # As in haar.spread_blocks, the fastest interleave there is on a CPU; a single kernel on a GPU.
        return torch.view_as_real(torch.complex(even, odd)).flatten(-2)


@cache
def _orthogonal_bank(name: str) -> FilterBank:
    try:
        import pywt  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError(
            f"basis {name!r} takes its filters from PyWavelets, which is missing: pip install PyWavelets"
        ) from error
    orthogonal = [other for other in pywt.wavelist(kind="discrete") if pywt.Wavelet(other).orthogonal]
    if name not in orthogonal:
        if name in pywt.wavelist():
            raise ValueError(f"basis {name!r} is not an orthogonal discrete wavelet; {_ALLOWED}")
        close = get_close_matches(name, [other for other in orthogonal if other != "dmey"])
        suggestion = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(f"unknown basis {name!r}; {suggestion}{_ALLOWED}")
    wavelet = pywt.Wavelet(name)
    low, high = tuple(map(float, wavelet.dec_lo)), tuple(map(float, wavelet.dec_hi))
    deviation = _deviation_from_orthogonality(low, high)
    if deviation > _ORTHOGONALITY_TOLERANCE:
        raise ValueError(f"basis {name!r} is orthogonal only to {deviation:.0e}; {_ALLOWED}")
    return FilterBank(name, low, high)


def _check_request(matrix: Tensor, level: int, mode: BoundaryMode) -> None:
    _check_matrix(matrix)
    if level < 0:
        raise ValueError(f"level must be 0 or more, got {level}")
    if mode not in BOUNDARY_MODES:
        raise ValueError(f"mode must be one of {', '.join(BOUNDARY_MODES)}, got {mode!r}")


def _check_matrix(matrix: Tensor) -> None:
    if matrix.ndim != 2 or matrix.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            "a wavelet transform takes [rows, width] in float32 or float64,"
            f" got {list(matrix.shape)} in {matrix.dtype}"
        )


def _column_beyond(position: int, width: int, mode: BoundaryMode) -> int:
    """Return which of ``width`` columns stands at a position outside them; any number of widths away."""
    if mode == "constant":
        return min(max(position, 0), width - 1)
    if mode == "periodic":
        return position % width
    period = 2 * width if mode == "symmetric" else max(1, 2 * width - 2)
    position %= period
    return position if position < width else 2 * width - (1 if mode == "symmetric" else 2) - position


def _phase(matrix: Tensor, parity: int, reach: int, count: int, mode: BoundaryMode) -> Tensor:
    """Return every second column, ``reach`` more on the left and on the right what makes it ``count``.

    Returns:
        ``[rows, reach + count]``; entry i is column ``2 (i - reach) + parity`` of the continued matrix.
    """
    rows, width = matrix.shape
    phase = matrix.new_empty(rows, reach + count)
    body = matrix[:, parity::2]
    end = reach + body.shape[1]
    phase[:, reach:end].copy_(body)
    for start, stop in ((0, reach), (end, reach + count)):
        if mode == "zero" or width == 0:
            phase[:, start:stop].zero_()
        elif start < stop:
            columns = [_column_beyond(2 * (i - reach) + parity, width, mode) for i in range(start, stop)]
            # Not by an index tensor, which would have to be sent to the device.
            phase[:, start:stop].copy_(torch.stack([matrix[:, column] for column in columns], dim=1))
    return phase


def _weighted_sum(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = torch.mul(parts[0], weights[0])
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total.add_(part, alpha=weight)
    return total


def _correlation(left: Sequence[float], right: Sequence[float], shift: int) -> float:
    return math.fsum(a * b for a, b in zip(left[shift:], right, strict=False))


def _deviation_from_orthogonality(low: Sequence[float], high: Sequence[float]) -> float:
    """Return how far the filters and their shifts by two are from being orthonormal."""
    return max(
        abs(_correlation(left, right, shift) - (left is right and shift == 0))
        for shift in range(0, len(low), 2)
        for left, right in ((low, low), (high, high), (low, high), (high, low))
    )
