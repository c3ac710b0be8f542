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
            compressed so coarsely that a strategy which sums up what is left out needs a smaller gamma.
    """
    compressor = faults.chosen_compressor()
    for level in levels:
        faults.validate(level.strategy, level.communicator.graphs)
        # A gamma that suffices for one level does not for three that feed each other: on hyper-cleaning
        # exact diffusion diverged with a tenth of the numbers (top-k) at 0.05, which one level bears, and at
        # 0.01.
        if (
            compressor is not None
            and has_memory(level.strategy)
            and compressor.gamma_with_memory < compressor.gamma
        ):
            raise GraftworkError(
                f"strategy {level.strategy.name!r} (of the {level.name} level) diverges with "
                f"faults.compressor = {faults.compressor!r} in a bilevel problem: no faults.gamma is known "
                "to be small enough; take '8-bit', or gt-semi-atc at all levels, which tolerates it"
            )
