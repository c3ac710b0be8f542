"""Which faults the ``bilevel`` trainer can do with."""

from __future__ import annotations

from collections.abc import Iterable

from graftwork import GraftworkError
from graftwork_decentral.bilevel.level import Level
from graftwork_decentral.faults.plan import Faults, has_memory


def refuse_to_continue(faults: Faults) -> None:
    """Refuse to go on when processes are lost.

    Raises:
        GraftworkError: ``on_failure`` is ``continue``.
    """
    if faults.on_failure == "continue":
        raise GraftworkError(
            "faults.on_failure = 'continue' is not for trainer 'bilevel': the corrections and averages "
            "of its three levels are not mended when agents are lost, and the others would end at a biased "
            "point; choose 'stop' and go on from the newest checkpoint (--resume), or trainer 'decentralized'"
        )


def validate_levels(faults: Faults, levels: Iterable[Level]) -> None:
    """Refuse faults with which a level's strategy diverges.

    Args:
        faults: of the run.
        levels: of the method, on the graphs that they are mixed on.

    Raises:
        GraftworkError: as :meth:`~graftwork_decentral.faults.plan.Faults.validate`; or messages are
            compressed, a strategy sums up what compression leaves out, and no gamma is given.
    """
    compressor = faults.chosen_compressor()
    for level in levels:
        faults.validate(level.strategy, level.communicator.graphs)
        if compressor is None or faults.gamma is not None or not has_memory(level.strategy):
            continue
        # The communicator was made for all levels, with the compressor's own gamma.
        if compressor.gamma > compressor.gamma_with_memory:
            raise GraftworkError(
                f"faults.gamma must be given with trainer 'bilevel' where {level.strategy.name!r} (of "
                f"the {level.name} level) meets faults.compressor = {faults.compressor!r}: "
                f"{compressor.gamma_with_memory:g} or less"
            )
