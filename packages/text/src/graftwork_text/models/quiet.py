"""One warning less: torch's about a class of torchao, which transformers imports and nobody here uses."""

from __future__ import annotations

import logging

_LOGGER = "torch.utils._pytree"


def hush_torchao() -> None:
    """Have torch not tell that torchao registers an ``Enum`` in a way that torch is to give up.

    What the same logger tells of other classes is told.
    """
    logger = logging.getLogger(_LOGGER)
    if _is_told not in logger.filters:
        logger.addFilter(_is_told)


def _is_told(record: logging.LogRecord) -> bool:
    about = record.args[0] if isinstance(record.args, tuple) and record.args else None
    return not (
        isinstance(about, type)
        and about.__module__.partition(".")[0] == "torchao"
        and "is an Enum subclass" in str(record.msg)
    )
