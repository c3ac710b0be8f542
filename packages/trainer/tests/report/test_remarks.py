"""What a reader must know before trusting a mean."""

from __future__ import annotations

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.directions import agreed_directions
from graftwork_trainer.report.remarks import remarks_on


def test_a_page_of_failures_says_the_first_dozen_and_how_many_more(write_run):
    runs = [
        read_run(
            write_run(f"r{seed}", seed=seed, result={"status": "failed", "steps": 3, "reason": "no memory."})
        )
        for seed in range(20)
    ]
    remarks = remarks_on(group_runs(runs), agreed_directions(runs))
    assert len(remarks) == 13
    assert remarks[0] == "adamw, seed 0, failed at step 3: no memory."
    assert remarks[-1] == "8 more remarks are left out here."
