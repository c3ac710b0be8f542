"""Sequences of equal length cut out of one long row of tokens.

Sequence ``i`` is ``tokens[i * length : (i + 1) * length + 1]``: its last token is the next one's first, so
every token but the very first is predicted exactly once, and no padding is needed.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


class PackedSequences:
    """A row of tokens as sequences.

    Args:
        tokens: [tokens], unsigned, usually mapped from a file.
        length: tokens that a sequence predicts.
        token_bytes: [tokens], UTF-8 bytes that each token adds to its text, where they are to be counted.

    Raises:
        ValueError: the row is too short for one sequence.

    >>> PackedSequences(np.arange(9, dtype=np.uint16), 4).batch(np.array([1]))["targets"].tolist()
    [[5, 6, 7, 8]]
    """

    def __init__(
        self,
        tokens: NDArray[np.unsignedinteger],
        length: int,
        token_bytes: NDArray[np.unsignedinteger] | None = None,
    ) -> None:
        if len(tokens) < length + 1:
            raise ValueError(f"a sequence needs {length + 1} tokens, got {len(tokens)}")
        self.length = length
        self._windows = _windows(tokens, length)
        self._token_bytes = None if token_bytes is None else _windows(token_bytes, length)

    def __len__(self) -> int:
        """How many whole sequences there are."""
        return len(self._windows)

    def batch(self, rows: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Return some sequences.

        Args:
            rows: [sequences], which ones.

        Returns:
            ``input_ids`` and ``targets``, both int64 [sequences, length]: the target of a token is the next
            token. Where bytes are counted, also ``text_bytes`` int64 [sequences]: those of the targets.
        """
        block = torch.from_numpy(self._windows[rows].astype(np.int64))
        batch = {"input_ids": block[:, :-1], "targets": block[:, 1:]}
        if self._token_bytes is not None:
            of_targets = self._token_bytes[rows][:, 1:].sum(1, dtype=np.int64)
            batch["text_bytes"] = torch.from_numpy(of_targets)
        return batch


def _windows(values: NDArray[np.unsignedinteger], length: int) -> NDArray[np.unsignedinteger]:
    # A plain view: indexing numpy's memmap class costs several times as much.
    return sliding_window_view(np.asarray(values), length + 1)[::length]
