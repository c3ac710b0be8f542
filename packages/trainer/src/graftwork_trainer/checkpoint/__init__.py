"""Checkpoints that are whole or absent, and that hold data alone.

::

    RUN/checkpoints/step-000500/
      index.json               every plain value, where each tensor lies, the SHA-256 of each file
      shard-00000.safetensors  the tensors that rank 0 wrote; one file a rank
    RUN/checkpoints/best-000300/   the same of the model alone, at its best evaluation

A checkpoint is written into ``step-000500.partial/``, brought to the disk and renamed when every rank is
done; no reader opens a ``.partial``. :func:`open_checkpoint` is the one way to read: index, digests, then
tensors. Nothing that it reads can run code.
"""

from graftwork_trainer.checkpoint.best import BestWeights
from graftwork_trainer.checkpoint.opened import DamagedCheckpointError, Opened, open_checkpoint
from graftwork_trainer.checkpoint.store import Checkpoints
from graftwork_trainer.checkpoint.training_state import TrainingState

__all__ = [
    "BestWeights",
    "Checkpoints",
    "DamagedCheckpointError",
    "Opened",
    "TrainingState",
    "open_checkpoint",
]
