"""Sections that nothing uses, and what they are taken for."""

from __future__ import annotations

import pytest

from graftwork.misspelt import misspelt_sections
from graftwork.tables import Tables

ASKED = ("task", "trainer", "model", "optimizer")
KINDS = (*ASKED, "topology")


def corrected(sections, *, unknown=False, **others):
    given = Tables("given", "given.toml", sections, **others)
    used = [section for section in sections if section in ASKED]
    return misspelt_sections(given, used=used, asked=ASKED, kinds=KINDS, unknown=unknown)


@pytest.mark.parametrize(
    ("section", "meant"), [("optimiser", "optimizer"), ("Optimizer", "optimizer"), ("modell", "model")]
)
def test_a_section_that_is_not_there_is_what_was_meant(section, meant):
    told, tables = corrected(
        {"task": {"name": "t"}, section: {"name": "x"}}, origins={f"{section}.lr": "--set"}
    )
    assert told == [f"[{section}]: nothing in this recipe uses it, did you mean '{meant}'?"]
    assert tables is not None
    assert tables.sections == {"task": {"name": "t"}, meant: {"name": "x"}}
    assert (tables.origins, tables.written) == ({f"{meant}.lr": "--set"}, {meant: section})


def test_one_that_is_there_is_not() -> None:
    told, tables = corrected({"optimizer": {"name": "x"}, "optimiser": {"name": "y"}})
    assert tables is None
    assert "did you mean 'optimizer'?" in told[0]


def test_a_trainer_that_has_its_name_alone_gives_way():
    sections = {"trainer": {"name": "standard"}, "trianer": {"steps": 3}}
    assert corrected(sections)[1].sections == {"trainer": {"name": "standard", "steps": 3}}
    assert corrected({**sections, "trainer": {"name": "standard", "seed": 1}})[1] is None


def test_tables_for_names_are_kept_from_both():
    named = {"optimizer": {"sgd": {}}, "optimiser": {"adam": {}}}
    _, tables = corrected({"optimizer": {}, "optimiser": {"name": "x"}}, named=named)
    assert sorted(tables.named["optimizer"]) == ["adam", "sgd"]


def test_what_an_unknown_component_may_use_is_not_told():
    assert corrected({"uppermost": {"name": "x"}}, unknown=True) == ([], None)
    told, _ = corrected({"uppermost": {"name": "x"}, "task": {"name": "t"}})
    assert told == ["[uppermost]: nothing in this recipe uses it; used are [task]"]


def test_what_the_command_line_alone_said_is_told_with_it():
    sections, origins = {"zebra": {"lr": 1}}, {"zebra.lr": "--set zebra.lr=1"}
    assert corrected(sections, origins=origins)[0][0].startswith("[zebra] (--set zebra.lr=1): nothing")
