"""The methods that the reproduction of SPARKLE compares, and the colours they are drawn in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from graftwork_decentral.bilevel import methods
from graftwork_decentral.bilevel.problem import BilevelMethod, BilevelProblem, BilevelSettings
from graftwork_decentral.communication import Communicator
from graftwork_decentral.communication.communicator import MixingPath

Build = Callable[[BilevelProblem, Communicator, BilevelSettings, Tensor, Tensor], BilevelMethod]


@dataclass(frozen=True, slots=True)
class Variant:
    """One method.

    Args:
        label: in tables and figures.
        build: makes it.
        colour: of its line.
        dashes: of its line.
        path: how mixing is computed, by name: what is left to be chosen by times is not the same every time.
    """

    label: str
    build: Build
    colour: str
    dashes: str = "-"
    path: MixingPath = "differences"


def sparkle(lower: str, upper: str | None = None, auxiliary: str | None = None) -> Build:
    """Return what makes a SPARKLE with these strategies; that of z is that of y unless given."""
    return partial(methods.sparkle, lower=lower, auxiliary=auxiliary, upper=upper)


D_SOBA = Variant("D-SOBA", methods.d_soba, "tab:red")
GT = Variant("SPARKLE-GT (semi)", sparkle("gt-semi-atc"), "tab:orange")
GT_ATC = Variant("SPARKLE-GT (atc)", sparkle("gt-atc"), "tab:brown")
GT_NON = Variant("SPARKLE-GT (non-atc)", sparkle("gt-non-atc"), "tab:olive")
ED = Variant("SPARKLE-ED", sparkle("exact-diffusion"), "tab:blue")
EXTRA = Variant("SPARKLE-EXTRA", sparkle("extra"), "tab:green", "--")
ED_GT = Variant("SPARKLE-ED-GT", sparkle("exact-diffusion", "gt-semi-atc"), "tab:purple", ":")
EXTRA_GT = Variant("SPARKLE-EXTRA-GT", sparkle("extra", "gt-semi-atc"), "tab:cyan", ":")
CENTRALIZED = Variant("fully connected", methods.centralized, "black", ":", path="dense")
MA_DSBO = Variant("MA-DSBO-GT", methods.ma_dsbo_gt, "tab:pink", "-.")
MDBO = Variant("MDBO", methods.mdbo, "tab:gray", "-.")
SLDBO = Variant("SLDBO", methods.sldbo, "gold", "--")
