"""Rounds between neighbours: in one process, or across processes."""

from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.communication.distributed import DistributedCommunicator
from graftwork_decentral.communication.lost import AgentsLostError, MembershipChanged
from graftwork_decentral.communication.membership import Membership
from graftwork_decentral.communication.stacked import StackedCommunicator
from graftwork_decentral.communication.store import store_of_environment
from graftwork_decentral.communication.survivors import Survivors
from graftwork_decentral.communication.traffic import Traffic

__all__ = [
    "Communicator",
    "StackedCommunicator",
    "DistributedCommunicator",
    "Membership",
    "MembershipChanged",
    "AgentsLostError",
    "Survivors",
    "Traffic",
    "store_of_environment",
]
