"""Weights that a training starts from: those of another run, or of safetensors files.

``trainer.start_from`` names them: a run (its newest whole checkpoint), ``RUN:best``, ``RUN:600``, a
``.safetensors`` file, or a folder with ``model.safetensors`` or its shards, as transformers and timm write
it. Checkpoints are read by the one function that opens them, files by the safetensors library, and nothing
else is read: no pickle.
"""

from graftwork_trainer.weights.source import Found, Source
from graftwork_trainer.weights.starting import describe_start, start_model

__all__ = ["Found", "Source", "describe_start", "start_model"]
