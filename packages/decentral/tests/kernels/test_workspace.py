"""Kept memory: one array a name, dtype and thread."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from graftwork_decentral.kernels.workspace import workspace

CPU = torch.device("cpu")


def test_a_workspace_is_returned_again_and_grows() -> None:
    first = workspace("test", (2, 3), torch.float32, CPU)
    assert workspace("test", (3, 2), torch.float32, CPU).data_ptr() == first.data_ptr()
    larger = workspace("test", (20, 30), torch.float32, CPU)
    assert larger.shape == (20, 30)
    assert larger.is_contiguous()
    assert workspace("test", (2, 3), torch.float32, CPU).data_ptr() == larger.data_ptr()


def test_names_dtypes_and_threads_do_not_share() -> None:
    found: list[Tensor] = [
        workspace("test", (4, 4), torch.float32, CPU),
        workspace("other", (4, 4), torch.float32, CPU),
        workspace("test", (4, 4), torch.float64, CPU),
    ]
    thread = threading.Thread(target=lambda: found.append(workspace("test", (4, 4), torch.float32, CPU)))
    thread.start()
    thread.join()
    assert len({array.data_ptr() for array in found}) == 4
