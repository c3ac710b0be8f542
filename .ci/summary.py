"""Add up the pytest runs of all nox sessions and close with one line in pytest's form."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path


def main(folder: Path) -> None:
    """Print a line per session and one for all."""
    totals: Counter[str] = Counter()
    seconds = 0.0
    for path in sorted(folder.glob("*.xml")):
        counts: Counter[str] = Counter()
        for suite in ET.parse(path).getroot().iter("testsuite"):
            broken = {kind: int(suite.get(kind, "0")) for kind in ("failures", "errors", "skipped")}
            counts["failed"] += broken["failures"]
            counts["error"] += broken["errors"]
            counts["skipped"] += broken["skipped"]
            counts["passed"] += int(suite.get("tests", "0")) - sum(broken.values())
            seconds += float(suite.get("time", "0"))
        print(f"{path.stem}: {_words(counts)}")
        totals += counts
    print(f"==== {_words(totals) or 'no tests ran'} in {seconds:.2f}s ====")


def _words(counts: Counter[str]) -> str:
    return ", ".join(
        f"{counts[kind]} {kind}" for kind in ("failed", "error", "passed", "skipped") if counts[kind]
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
