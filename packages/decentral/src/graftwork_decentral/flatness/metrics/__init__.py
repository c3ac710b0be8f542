"""Flatness, disagreement and gradient noise of any torch model, so that the theory can be fed from a run.

Every measure takes an objective: a function from a flat vector of parameters to a scalar, as
:func:`flat_objective` makes of a module, a loss and a batch. Agents are the rows of a matrix
``[agents, parameters]``; :func:`over_agents` applies a measure of one point to each and to the centroid.
"""

from graftwork_decentral.flatness.metrics.agents import AgentValues, excess_risk_of_agents, over_agents
from graftwork_decentral.flatness.metrics.descent import noiseless_descent
from graftwork_decentral.flatness.metrics.disagreement import consensus_distance, weighted_consensus_distance
from graftwork_decentral.flatness.metrics.flat import Objective, ParameterSpec, flat_objective
from graftwork_decentral.flatness.metrics.gradients import gradient, gradient_noise_trace, heterogeneity
from graftwork_decentral.flatness.metrics.hessian_product import HessianProduct
from graftwork_decentral.flatness.metrics.lanczos import Eigenpairs, top_eigenvalues
from graftwork_decentral.flatness.metrics.sharpness import average_direction_sharpness
from graftwork_decentral.flatness.metrics.trace import hessian_trace

__all__ = [
    "AgentValues",
    "Eigenpairs",
    "HessianProduct",
    "Objective",
    "ParameterSpec",
    "average_direction_sharpness",
    "consensus_distance",
    "excess_risk_of_agents",
    "flat_objective",
    "gradient",
    "gradient_noise_trace",
    "hessian_trace",
    "heterogeneity",
    "noiseless_descent",
    "over_agents",
    "top_eigenvalues",
    "weighted_consensus_distance",
]
