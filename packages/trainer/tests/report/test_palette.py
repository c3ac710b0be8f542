"""Colours of few variants, and grey for many."""

from __future__ import annotations

import pytest

from graftwork_trainer.report import group_runs, read_run
from graftwork_trainer.report.palette import choose_palette, style_of
from graftwork_trainer.report.table import build_table


@pytest.fixture
def table_of(write_run, result_of):
    def table(perplexities, **changes):
        paths = [
            write_run(
                f"r{place}",
                optimizer={"name": "adamw", "lr": (1 + place) / 8},
                result=result_of(value),
                **changes,
            )
            for place, value in enumerate(perplexities)
        ]
        return build_table(group_runs(map(read_run, paths)))

    return table


def test_a_dozen_variants_have_colours_of_their_own(table_of):
    palette = choose_palette(table_of(range(40, 52)))
    assert palette.note == ""
    assert palette.coloured == len(set(palette.styles)) == 12


def test_no_two_of_the_first_thirty_styles_look_alike():
    looks = {(style.css, style.dashes) for style in map(style_of, range(30))}
    assert len(looks) == 30


def test_of_many_the_best_are_coloured(table_of):
    palette = choose_palette(table_of([float(50 - place) for place in range(20)]))
    coloured = [place for place, style in enumerate(palette.styles) if style.coloured]
    assert coloured == list(range(14, 20))
    assert palette.styles[19].css == style_of(0).css
    assert palette.note == "In colour: the best 6 of 20 variants."
    assert {style.css for style in palette.styles[:14]} == {"var(--muted)"}


def test_of_many_that_are_not_ranked_the_first_are_coloured(table_of):
    palette = choose_palette(table_of([float(50 - place) for place in range(20)], directions=None))
    assert [style.coloured for style in palette.styles] == [True] * 6 + [False] * 14
    assert palette.note == "In colour: the first 6 of 20 variants."
