"""Many runs at once in small landscapes: excess risk, first exits, thresholds and shares of basins."""

from graftwork_decentral.flatness.lab.basins import basin_share
from graftwork_decentral.flatness.lab.escape import ExitTimes, escape_threshold, exit_times
from graftwork_decentral.flatness.lab.excess import simulated_excess_risk
from graftwork_decentral.flatness.lab.landscapes import DoubleWell, Landscape, Quadratic
from graftwork_decentral.flatness.lab.problem import Problem
from graftwork_decentral.flatness.lab.simulation import Simulation

__all__ = [
    "DoubleWell",
    "ExitTimes",
    "Landscape",
    "Problem",
    "Quadratic",
    "Simulation",
    "basin_share",
    "escape_threshold",
    "exit_times",
    "simulated_excess_risk",
]
