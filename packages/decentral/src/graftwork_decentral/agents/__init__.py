"""Any model and any optimizer, trained by agents that exchange with neighbours."""

from graftwork_decentral.agents.bank import AgentBank
from graftwork_decentral.agents.optimizer import DecentralizedOptimizer

__all__ = ["AgentBank", "DecentralizedOptimizer"]
