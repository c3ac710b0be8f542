"""On which keys variants disagree, and in which order that is told.

Reached from here: ``report/recipe_keys.py``.
"""

from __future__ import annotations

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.differences import differences


def test_learning_rates_stand_first_and_what_only_one_side_has_last(write_run):
    optimizers = (
        {"name": "sgd", "momentum": 0.9, "lr": 0.1, "betas": 1},
        {"name": "adamw", "betas": 2, "lr": 0.2},
    )
    variants = group_runs(
        read_run(write_run(f"r{place}", optimizer=one, trainer={"batch": place}))
        for place, one in enumerate(optimizers)
    )
    assert [(one.key, one.values, one.one_sided) for one in differences(variants)] == [
        ("optimizer.lr", ("0.1", "0.2"), False),
        ("optimizer.name", ("sgd", "adamw"), False),
        ("optimizer.betas", ("1", "2"), False),
        ("trainer.batch", ("0", "1"), False),
        ("optimizer.momentum", ("0.9", "unset"), True),
    ]


def test_one_variant_disagrees_with_nobody(write_run):
    assert differences(group_runs([read_run(write_run("r"))])) == []
