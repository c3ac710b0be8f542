"""Exact excess risk of decentralized methods near a minimum: quadratic model, float64, no sampling."""

from graftwork_decentral.flatness.theory.lyapunov import excess_risk_general
from graftwork_decentral.flatness.theory.modal import consensus_covariance, excess_risk
from graftwork_decentral.flatness.theory.small_step import small_step

__all__ = ["consensus_covariance", "excess_risk", "excess_risk_general", "small_step"]
