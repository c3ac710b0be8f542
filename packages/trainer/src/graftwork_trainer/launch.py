"""``python -m graftwork_trainer.launch``: torchrun, whose last word is that of the process that failed.

It takes torchrun's arguments. Where a process fails, torchrun prints how it noticed, a traceback of itself,
and a table; this leaves the sentence that the process said, and exits as that did.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Start processes and wait for them.

    Args:
        arguments: as of torchrun; those of this process unless given.

    Returns:
        0, or the exit code of the first that failed, as a shell gives it: 128 + the number of a signal.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    # How it noticed that one failed, and ended the others.
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        torchrun(None if arguments is None else list(arguments))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return int(failure.exitcode)
        name = signal.Signals(-failure.exitcode).name
        print(f"graftwork: error: rank {rank} (process {failure.pid}) was ended by {name}", file=sys.stderr)
        return 128 - int(failure.exitcode)
    except SignalException as stop:  # the processes had it, too, and have said what became of it
        return 128 + int(stop.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main())
