"""What is known of the process as a whole, where it is a call of the command line."""

from __future__ import annotations

# In seconds of `time.time()`, before any plugin was loaded. None in a program that imports Graftwork: it may
# have loaded modules long ago, which their files no longer are.
started: float | None = None
