"""Exceptions of somebody's code, told by component, file and line."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest

from graftwork import Component, Kind
from graftwork.choice import Choice
from graftwork.component import Command
from graftwork.faults import origin_of, sentence_of
from graftwork.plugins import Plugin
from graftwork.registry import Registry, registry_in_use

CODE = """
def build(width):
    return fail(width)

def fail(width):
    raise KeyError(width)

class Base:
    def loss(self):
        return self._inner()

    def _inner(self):
        return fail(1)

class Task(Base):
    def __init__(self, broken=False):
        if broken:
            self.missing

    def run(self, model):
        model()

    @classmethod
    def smallest(cls):
        fail(2)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module with a task and a model, registered in use."""
    file = tmp_path / "mine" / "code.py"
    module = ModuleType("mine.code")
    exec(compile(CODE, file, "exec"), vars(module))
    monkeypatch.setitem(sys.modules, "mine.code", module)
    components = (
        Component(Kind.TASK, "one", "mine.code:Task", ""),
        Component(Kind.MODEL, "two", "mine.code:build", ""),
        Component(Kind.TASK, "absent", "mine.never_imported:Task", ""),
    )
    registry = Registry([Plugin("mine", "mine", "1", "mine.code", components=components)])
    with registry_in_use(registry):
        yield module


def told(call, *arguments, **options):
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        call(*arguments, **options)
    return sentence_of(caught.value)


def test_the_innermost_component_is_named_with_what_was_called_of_it(plugin):
    task = plugin.Task()
    assert told(task.loss) == "task/mine:one, loss: KeyError: 1 (mine/code.py:6)"
    assert told(plugin.build, 3) == "model/mine:two: KeyError: 3 (mine/code.py:6)"
    assert told(task.run, lambda: plugin.build(4)) == "model/mine:two: KeyError: 4 (mine/code.py:6)"
    assert told(plugin.Task.smallest) == "task/mine:one, smallest: KeyError: 2 (mine/code.py:6)"
    assert told(plugin.Task, broken=True).startswith("task/mine:one: AttributeError: 'Task' object")


def test_an_object_that_no_component_built_is_known_by_itself(plugin):
    from graftwork import get_registry

    entry = get_registry().find("model/two")
    thing = plugin.Base()
    with pytest.raises(KeyError) as caught:
        thing.loss()
    assert sentence_of(caught.value, objects=[(thing, entry)]).startswith("model/mine:two, loss: KeyError")
    assert origin_of(caught.value).entry is None


def test_what_a_library_raises_is_placed_in_the_plugin(plugin, monkeypatch):
    monkeypatch.setattr(plugin, "fail", int, raising=True)
    assert told(plugin.Task().run, "no function") == (
        "task/mine:one, run: TypeError: 'str' object is not callable (mine/code.py:21)"
    )


def test_a_component_that_fails_without_a_frame_of_its_own_is_known_by_its_choice(plugin):
    from graftwork import get_registry

    registry = get_registry()
    choice = Choice(registry.find("model/two"), registry.kinds["model"], divmod)
    assert told(choice, 1, 0).startswith("model/mine:two: ZeroDivisionError")


class Commanding:
    """A command of a plugin, which fails."""

    error: BaseException = RuntimeError("no\nink")

    def configure(self, parser):
        """No arguments."""

    def run(self, arguments):
        raise self.error


@pytest.mark.parametrize(
    "error", [RuntimeError("no\nink"), SystemExit(0), OSError(5, "Input/output error"), AssertionError()]
)
def test_a_command_that_fails_is_one_sentence(monkeypatch, capsys, error):
    from graftwork import cli

    monkeypatch.delenv("GRAFTWORK_DEBUG", raising=False)
    monkeypatch.setattr(Commanding, "error", error)
    monkeypatch.setitem(sys.modules, "commanding", sys.modules[__name__])
    command = Command("commanding", "fails", "commanding:Commanding")
    monkeypatch.setattr(cli, "_OWN", (*cli._OWN, command))
    assert cli.main(["commanding"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"graftwork: error: {type(error).__name__}")
    assert "test_faults.py:" in said
    assert said.endswith("; GRAFTWORK_DEBUG=1 shows the traceback\n")
    monkeypatch.setenv("GRAFTWORK_DEBUG", "1")
    with pytest.raises(Exception) as raised:  # noqa: PT011
        cli.main(["commanding"])
    assert raised.value.__cause__ is error


class UnreadableError(Exception):
    def __str__(self):
        return {}["text"]


class NumberError(Exception):
    def __str__(self):
        return 3


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnreadableError(), "UnreadableError: (its text cannot be made: KeyError)"),
        (NumberError(), "NumberError: (its text cannot be made: TypeError)"),
        (ValueError("x" * 10**5), f"ValueError: {'x' * 2000}…"),
        (
            ExceptionGroup("both", [ValueError("a\n b"), KeyError("c")]),
            "ExceptionGroup: both (2 sub-exceptions): ValueError: a b; KeyError: 'c'",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_any_exception_is_one_line(error, told):
    assert sentence_of(error) == told


def test_an_iteration_that_stops_within_a_generator_is_told_where_it_does():
    def stopping():
        yield next(iter(()))

    with pytest.raises(RuntimeError) as caught:
        next(stopping())
    assert re.fullmatch(r"StopIteration \(.*test_faults.py:\d+\)", sentence_of(caught.value))
