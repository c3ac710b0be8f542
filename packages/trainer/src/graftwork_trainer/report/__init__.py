"""Reports: run directories in, one self-contained page, its figures and a terminal table out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.lazy import lazy_names

if TYPE_CHECKING:
    from graftwork_trainer.report.read import RunRecord, read_run
    from graftwork_trainer.report.terminal import print_table
    from graftwork_trainer.report.variants import Variant, group_runs
    from graftwork_trainer.report.write import Report, write_report

__all__ = [
    "Report",
    "RunRecord",
    "Variant",
    "group_runs",
    "print_table",
    "read_run",
    "write_report",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Report": "write",
        "RunRecord": "read",
        "Variant": "variants",
        "group_runs": "variants",
        "print_table": "terminal",
        "read_run": "read",
        "write_report": "write",
    },
)
