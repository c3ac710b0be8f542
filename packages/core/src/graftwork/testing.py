"""For tests of plugins: one that is installed by putting a folder on the path; and signals that are heeded.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     plugin = write_plugin(Path(folder), "tiny", "x = 1")
...     sorted(path.name for path in Path(folder).iterdir())
['graftwork_tiny-1.0.dist-info', 'graftwork_tiny.py']
"""

from __future__ import annotations

import importlib
import signal
import textwrap
from collections.abc import Sequence
from pathlib import Path


def write_plugin(
    folder: Path, name: str, source: str, *, version: str = "1.0", requires: Sequence[str] = ("graftwork",)
) -> Path:
    """Write a module ``graftwork_NAME`` with the metadata of an installed distribution ``graftwork-NAME``.

    With ``folder`` on ``sys.path`` (or in ``PYTHONPATH``, for another process) it is discovered like any
    plugin.

    Args:
        folder: receives the module and its ``dist-info``.
        name: of the plugin; hyphens become underscores in the module's name.
        source: of the module, dedented.
        version: of the distribution.
        requires: requirement lines of the distribution.

    Returns:
        The module's path.
    """
    module = f"graftwork_{name.replace('-', '_')}"
    metadata = folder / f"{module}-{version}.dist-info"
    metadata.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: graftwork-{name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {line}" for line in requires]
    (metadata / "METADATA").write_text("\n".join(lines) + "\n", "utf-8")
    (metadata / "entry_points.txt").write_text(f"[graftwork]\n{name} = {module}\n", "utf-8")
    path = folder / f"{module}.py"
    path.write_text(textwrap.dedent(source), "utf-8")
    importlib.invalidate_caches()  # this process may have looked into the folder before
    return path


def heed_signals() -> None:
    """Have this process, and those that it starts, heed the signals that ask a training to stop.

    A shell has what it runs in the background ignore SIGINT, and nohup SIGHUP; a training does so, too.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
