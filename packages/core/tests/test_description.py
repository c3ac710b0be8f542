"""Descriptions are kept between calls, and never told when they no longer hold.

Reached from here: ``description_cache.py``.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from graftwork import process
from graftwork.description import describe, described_before

BASE = """
class Base:
    def __init__(self, params, lr: float = 0.1): pass
    def step(self): pass
    def zero_grad(self): pass
    def state_dict(self): pass
    def load_state_dict(self, state): pass
"""
KIT = """
@hookimpl
def graftwork_components():
    yield Component(Kind.OPTIMIZER, "scale", "graftwork_kit_scale:Scale", "scales")
"""


class Home:
    """An environment with one optimizer, whose class inherits from another module's."""

    def __init__(self, folder, discover):
        self.folder, self.discover = folder, discover
        self.write("graftwork_kit_base", BASE)
        self.write("graftwork_kit_scale", "from graftwork_kit_base import Base\nclass Scale(Base): pass\n")

    def write(self, module, source):
        (self.folder / f"{module}.py").write_text(source)

    def new_process(self):
        for name in [name for name in sys.modules if name.startswith("graftwork_kit")]:
            del sys.modules[name]
        registry = self.discover()
        return registry.find("optimizer/scale"), registry

    def default(self):
        (option,) = describe(*self.new_process()).options
        return option.default

    @property
    def is_kept(self):
        return described_before(*self.new_process()) is not None


@pytest.fixture
def home(add_plugin, discover, plugins_folder, tmp_path, monkeypatch):
    add_plugin("kit", KIT)
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    # As if all that these tests write had been written long before the process began.
    monkeypatch.setattr(process, "started", time.time() + 3600)
    return Home(plugins_folder, discover)


def test_a_description_is_kept_and_imports_nothing(home):
    assert home.default() == 0.1
    assert home.is_kept
    before = describe(*home.new_process())
    assert "graftwork_kit_scale" not in sys.modules
    assert before.supplied == ("params",)


@pytest.mark.parametrize("module", ["graftwork_kit_base", "graftwork_kit"])
def test_a_change_of_any_source_shows_at_once(home, module):
    home.default()
    path = home.folder / f"{module}.py"
    path.write_text(path.read_text().replace("0.1", "0.2") + "\n")
    assert not home.is_kept
    assert home.default() == (0.2 if module == "graftwork_kit_base" else 0.1)


def test_a_change_of_the_same_length_and_time_shows_too(home):
    home.default()
    path = home.folder / "graftwork_kit_base.py"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text(BASE.replace("0.1", "0.3"))
    os.utime(path, ns=times)
    assert not home.is_kept


def test_a_module_that_takes_the_place_of_another_shows(home, tmp_path, monkeypatch):
    home.default()
    first = tmp_path / "first"
    first.mkdir()
    monkeypatch.syspath_prepend(str(first))
    assert not home.is_kept
    home.default()
    (first / "graftwork_kit_base.py").write_text(BASE.replace("0.1", "0.4"))
    assert home.default() == 0.4


def test_what_may_have_changed_while_it_was_read_is_not_kept(home, monkeypatch):
    monkeypatch.setattr(process, "started", time.time())
    home.default()
    assert not home.is_kept


@pytest.mark.parametrize("reason", ["no command line", "no bytecode", "no folder"])
def test_nothing_is_kept(home, monkeypatch, reason):
    if reason == "no command line":
        monkeypatch.setattr(process, "started", None)
    elif reason == "no bytecode":
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
    else:
        Path(os.environ["GRAFTWORK_CACHE"]).write_text("a file")
    assert home.default() == 0.1
    assert not home.is_kept


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"of": 1}', "half"])
def test_a_damaged_cache_is_none(home, tmp_path, damage):
    home.default()
    (kept,) = (tmp_path / "cache" / "descriptions").iterdir()
    kept.write_text(kept.read_text().replace('"options"', '"option"') if damage == "half" else damage)
    assert not home.is_kept
    assert home.default() == 0.1
    assert home.is_kept
