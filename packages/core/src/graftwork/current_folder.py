"""What lies in the current folder is not executed, unless ``PYTHONPATH`` names that folder.

``python -m`` looks for modules and plugins in the folder that it is called in, before the standard library,
and so does each process that multiprocessing starts. Whoever stands in a folder that somebody sent must run
none of it.

Only modules that are built into Python are imported here: any other would be looked for in that folder. What
Python itself imports for ``-m`` (``collections``, ``contextlib`` and some more) has been looked for there by
then; the command ``graftwork`` and ``python -P -m graftwork`` leave the folder out from the beginning.
"""

import os
import sys


def leave_out_of_dash_m() -> None:
    """Take back the entry of ``sys.path`` that ``python -m`` made; what a ``__main__`` does first."""
    if not sys.flags.safe_path and sys.path[:1] == [_current_folder()]:
        del sys.path[0]


def leave_out_of_the_environment() -> None:
    """Keep child processes from looking there, and empty parts of ``PYTHONPATH`` from standing for it.

    Such a part is an accident: ``PYTHONPATH=$PYTHONPATH:folder`` where the variable was not set.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    given = os.environ.get("PYTHONPATH", "")
    named = [part for part in given.split(os.pathsep) if part]
    if given == os.pathsep.join(named):
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(named)
    here = _current_folder()
    if here in sys.path and here not in map(os.path.abspath, named):
        sys.path.remove(here)


def _current_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  pathlib is not built in
    except FileNotFoundError:  # it was deleted, and Python made no entry for it
        return None
