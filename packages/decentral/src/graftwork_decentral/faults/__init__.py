"""Faults to train under: links that fail, agents that are cut off, old and compressed messages."""

from graftwork_decentral.faults.compressed import Compressed
from graftwork_decentral.faults.compressors import Compressor, EightBit, RandomK, ScaledSign, TopK
from graftwork_decentral.faults.delayed import Delayed
from graftwork_decentral.faults.isolation import Isolation
from graftwork_decentral.faults.link_loss import LinkLoss
from graftwork_decentral.faults.plan import Faults

__all__ = [
    "Faults",
    "LinkLoss",
    "Isolation",
    "Delayed",
    "Compressed",
    "Compressor",
    "TopK",
    "RandomK",
    "ScaledSign",
    "EightBit",
]
