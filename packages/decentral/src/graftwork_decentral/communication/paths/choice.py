"""Which way to mix, by the name that a communicator was given.

=============  =======================================================================
name           path
=============  =======================================================================
differences    the faster of ``gathered`` and ``rowwise``: the same bits, whichever it is
auto           the fastest of ``gathered``, ``rowwise`` and ``dense``
gathered       :mod:`~.gathered`
rowwise        :mod:`~.rowwise`
dense          :mod:`~.dense`, for any weights
plain          :mod:`~.dense` as one product, for dyadic weights
=============  =======================================================================

``auto`` chooses by times that it measures, and a product rounds otherwise than differences do: two runs of it
may differ in the last bits. What is to be repeated bit for bit names its path.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from graftwork_decentral.communication.paths import dense, gathered, rowwise
from graftwork_decentral.communication.paths.cost_model import (
    ANY_WEIGHTS,
    DIFFERENCES,
    PATHS,
    PathName,
    cheapest,
)
from graftwork_decentral.communication.paths.plan import MixPlan

_CHOICES: Mapping[str, tuple[PathName, ...]] = {
    **{"auto": ANY_WEIGHTS, "differences": DIFFERENCES},
    **{name: (name,) for name in PATHS},
}


def mixed_by(
    path: str, known: Tensor, plan: MixPlan, *, dyadic: bool = False, out: Tensor | None = None
) -> Tensor:
    """Mix ``[known, ...]`` to ``[m, ...]``.

    Args:
        path: a name of the table above.
        known: the own rows and the neighbours'.
        plan: whose rows to mix.
        dyadic: whether all sums of weights are exact, without which ``plain`` is refused.
        out: where to, ``[m, ...]``, no part of ``known``; a new tensor if None.

    Raises:
        ValueError: there is no path of this name, the weights do not allow it, or the shapes do not fit.

    >>> import torch
    >>> quarter = torch.full((2, 1), 0.25, dtype=torch.float64)
    >>> dense = torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64)
    >>> plan = MixPlan(torch.arange(2), torch.tensor([[1], [0]]), quarter, dense)
    >>> mixed_by("differences", torch.tensor([0.0, 4.0]), plan)
    tensor([1., 3.])
    """
    if path not in _CHOICES:
        raise ValueError(f"path must be one of {', '.join(_CHOICES)}, got {path!r}")
    if path == "plain" and not dyadic:
        raise ValueError("path plain needs dyadic weights, whose sums are exact; dense takes any")
    shape = (len(plan.rows), *known.shape[1:])
    if known.ndim != 2:
        known = known.reshape(known.shape[0], -1) if known.numel() else known.new_empty(known.shape[0], 0)
        out = None if out is None else out.view(shape[0], -1)
    name = cheapest(plan, known.shape[1], known.dtype, among=_CHOICES[path])
    if name in ("dense", "plain"):
        mixed = dense.mix(known, plan, out, centred=name == "dense")
    elif name == "gathered":
        mixed = gathered.mix(known, plan, out)
    else:
        mixed = rowwise.mix(known, plan, out)
    return mixed.view(shape)
