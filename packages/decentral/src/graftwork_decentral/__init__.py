"""Decentralized training: agents keep their own data and weights and exchange with neighbours only."""

from graftwork.lazy import lazy_names

# Not that of `typing`, which `python -m graftwork_decentral.launch` would look for in the current folder.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from graftwork_decentral.agents.bank import AgentBank
    from graftwork_decentral.agents.optimizer import DecentralizedOptimizer
    from graftwork_decentral.communication.communicator import Communicator
    from graftwork_decentral.communication.distributed import DistributedCommunicator
    from graftwork_decentral.communication.stacked import StackedCommunicator
    from graftwork_decentral.strategies.exact_diffusion import exact_diffusion
    from graftwork_decentral.strategies.extra import extra
    from graftwork_decentral.strategies.gradient_tracking import gt_atc, gt_non_atc, gt_semi_atc
    from graftwork_decentral.strategies.strategy import Strategy
    from graftwork_decentral.strategies.uncorrected import consensus, diffusion
    from graftwork_decentral.topology.exponential import one_peer_exponential, static_exponential
    from graftwork_decentral.topology.graphs import (
        erdos_renyi,
        from_edges,
        from_networkx,
        full,
        hypercube,
        path,
        ring,
        star,
        torus,
    )
    from graftwork_decentral.topology.topology import GraphSequence, Topology, TopologySequence

__all__ = [
    "Topology",
    "TopologySequence",
    "GraphSequence",
    "ring",
    "path",
    "star",
    "full",
    "torus",
    "hypercube",
    "erdos_renyi",
    "static_exponential",
    "one_peer_exponential",
    "from_edges",
    "from_networkx",
    "Communicator",
    "StackedCommunicator",
    "DistributedCommunicator",
    "Strategy",
    "diffusion",
    "consensus",
    "exact_diffusion",
    "extra",
    "gt_atc",
    "gt_semi_atc",
    "gt_non_atc",
    "AgentBank",
    "DecentralizedOptimizer",
]

_GRAPHS = ("ring", "path", "star", "full", "torus", "hypercube", "erdos_renyi", "from_edges", "from_networkx")

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Topology": "topology.topology",
        "TopologySequence": "topology.topology",
        "GraphSequence": "topology.topology",
        **dict.fromkeys(_GRAPHS, "topology.graphs"),
        "static_exponential": "topology.exponential",
        "one_peer_exponential": "topology.exponential",
        "Communicator": "communication.communicator",
        "StackedCommunicator": "communication.stacked",
        "DistributedCommunicator": "communication.distributed",
        "Strategy": "strategies.strategy",
        "diffusion": "strategies.uncorrected",
        "consensus": "strategies.uncorrected",
        "exact_diffusion": "strategies.exact_diffusion",
        "extra": "strategies.extra",
        "gt_atc": "strategies.gradient_tracking",
        "gt_semi_atc": "strategies.gradient_tracking",
        "gt_non_atc": "strategies.gradient_tracking",
        "AgentBank": "agents.bank",
        "DecentralizedOptimizer": "agents.optimizer",
    },
)
