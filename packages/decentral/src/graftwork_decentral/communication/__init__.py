"""Rounds between neighbours: in one process, or across processes."""

from graftwork_decentral.communication.communicator import Communicator
from graftwork_decentral.communication.distributed import DistributedCommunicator
from graftwork_decentral.communication.stacked import StackedCommunicator
from graftwork_decentral.communication.traffic import Traffic

__all__ = ["Communicator", "StackedCommunicator", "DistributedCommunicator", "Traffic"]
