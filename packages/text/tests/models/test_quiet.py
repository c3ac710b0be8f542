"""The one warning that is not passed on, and others of the same logger that are."""

from __future__ import annotations

import enum
import logging

import pytest

import graftwork_text.models  # noqa: F401  hushes

TOLD = "%s is an Enum subclass and is now natively supported by torch.compile"


@pytest.mark.parametrize(
    ("module", "message", "passed_on"),
    [
        ("torchao.quantization.quantize_.common.kernel_preference", TOLD, False),
        ("torchao.other", "%s is registered twice", True),
        ("somebody.else", TOLD, True),
        ("torchaos", TOLD, True),
    ],
)
def test_torchs_warning_about_torchao_alone_is_left_out(caplog, module, message, passed_on):
    about = enum.Enum("KernelPreference", "AUTO", module=module)
    logger = logging.getLogger("torch.utils._pytree")
    logger.propagate, propagates = True, logger.propagate
    try:
        with caplog.at_level(logging.WARNING, logger.name):
            logger.warning(message, about)
    finally:
        logger.propagate = propagates
    assert bool(caplog.records) is passed_on
