"""Options that depend on the machine."""

from __future__ import annotations

import pytest
import torch

from graftwork import GraftworkError
from graftwork_trainer import GradientOptions


def test_a_device_without_bfloat16_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: False)
    options = GradientOptions(precision="bfloat16")
    with pytest.raises(GraftworkError, match=r"trainer.precision is 'bfloat16', and this CUDA device does"):
        options.autocast(torch.device("cuda"))
    with options.autocast(torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu")
