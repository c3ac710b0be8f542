"""The contract of a mixer as checks that run on any builder of one, a third party's too.

>>> from graftwork_attention.mixers.fnet import FourierMixer
>>> for check in CHECKS:
...     if check.name.startswith("padding"):
...         check.run(FourierMixer)  # raises ContractBroken where a promise is not kept
"""

from __future__ import annotations

from graftwork_attention.contract import numerics, padding, refusals, sequences, state
from graftwork_attention.contract.check import Build, Check, ContractBroken

__all__ = ["CHECKS", "Build", "Check", "ContractBroken"]

CHECKS: tuple[Check, ...] = (
    *sequences.CHECKS,
    *padding.CHECKS,
    *refusals.CHECKS,
    *state.CHECKS,
    *numerics.CHECKS,
)
"""All promises, the plain ones first."""
