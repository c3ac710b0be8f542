"""``--plugin FILE``: a file is a plugin for one call, because it was named.

Reached from here: ``registration.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from hashlib import sha256

import pytest

from graftwork import RecipeError, get_registry, load_recipe
from graftwork.cli import main
from graftwork.plugin_file import plugin_file_arguments, plugin_files
from graftwork.testing import write_plugin

MINE = '''
from graftwork import Command, Component, Kind, hookimpl, register

@register("optimizer")
class SignDescent:
    """Moves by the sign of the gradient.

    Args:
        lr: how far.
    """

    def __init__(self, params, lr: float = 0.1): pass
    def step(self): pass
    def zero_grad(self): pass
    def state_dict(self): pass
    def load_state_dict(self, state): pass

class Derived(SignDescent):
    """Inherits, and is not marked."""

@register("metric", "one-always", paper="arXiv:1")
def always_one():
    """Returns 1."""
    return 1

@hookimpl
def graftwork_components():
    yield Component(Kind.LOSS, "none", "mine:always_one", "no loss")

class Greet:
    def configure(self, parser): parser.add_argument("name")
    def run(self, arguments):
        print("hello", arguments.name)
        return 0

@hookimpl
def graftwork_commands():
    yield Command("greet", "say hello", "mine:Greet")
'''


@pytest.fixture(autouse=True)
def only_the_files(tmp_path, monkeypatch, plugins_folder):
    """A folder to stand in, and no installed plugin but those that a test adds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFTWORK_PLUGINS", "other")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def write(tmp_path):
    def to_file(source, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return name

    return to_file


def test_what_a_file_marks_and_what_its_hooks_yield_is_listed(write, capsys):
    write(MINE)
    assert main(["--plugin", "mine.py", "list"]) == 0
    assert capsys.readouterr().out.split("\n") == [
        "optimizer",
        "  sign-descent  Moves by the sign of the gradient.",
        "",
        "loss",
        "  none          no loss",
        "",
        "metric",
        "  one-always    Returns 1. (arXiv:1)",
        "",
        "",
    ]


def test_info_and_doctor_tell_the_file(write, capsys):
    digest = sha256((MINE).encode()).hexdigest()[:12]
    write(MINE)
    assert main(["--plugin=mine.py", "info", "optimizer/sign-descent"]) == 0
    shown = capsys.readouterr().out
    assert f"from      mine.py sha256:{digest} (optimizer/mine:sign-descent)" in shown
    assert "lr  float, default 0.1" in shown
    assert "how far." in shown
    assert main(["--plugin=mine.py", "doctor", "--resolve"]) == 0
    assert f" loaded    mine.py sha256:{digest}  3 components" in capsys.readouterr().out


def test_a_file_adds_a_command(write, capsys):
    write(MINE)
    assert main(["--plugin", "mine.py", "greet", "you"]) == 0
    assert capsys.readouterr().out == "hello you\n"


def test_several_files_count_and_one_that_is_named_twice_counts_once(write, capsys, tmp_path):
    write(MINE)
    write("from graftwork import register\n@register('metric')\ndef two(): pass", "more.py")
    (tmp_path / "link.py").symlink_to("mine.py")
    again = ["--plugin", "mine.py", "--plugin", "./mine.py", "--plugin", str(tmp_path / "link.py")]
    assert main(["--plugin", "mine.py", "--plugin=more.py", *again, "list", "metric"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line] == [
        "metric",
        "one-always",
        "two",
    ]


def test_a_file_is_a_plugin_for_that_call_alone(write, capsys):
    write(MINE)
    path, modules = list(sys.path), set(sys.modules)
    assert main(["--plugin", "mine.py", "list"]) == 0
    assert (sys.path, "mine" in sys.modules, "mine" in modules) == (path, False, False)
    assert main(["info", "optimizer/sign-descent"]) == 2
    assert "mine" not in [plugin.name for plugin in get_registry().plugins]


def test_a_name_that_an_installed_plugin_has_too_is_ambiguous(write, capsys, plugins_folder):
    installed = "from graftwork import *\n@register('metric')\ndef one_always(): pass"
    write_plugin(plugins_folder, "other", installed)
    write(MINE)
    assert main(["--plugin", "mine.py", "info", "metric/one-always"]) == 2
    assert "write metric/other:one-always or metric/mine:one-always" in capsys.readouterr().err
    assert main(["--plugin", "mine.py", "info", "metric/mine:one-always"]) == 0


def test_a_link_leads_to_the_file_whose_name_and_folder_count(write, capsys, tmp_path):
    (tmp_path / "link.py").symlink_to("far/real.py")
    write("NAME = 'beside'", "far/helper.py")
    write("import helper" + MINE.replace("mine:", "real:"), "far/real.py")
    assert main(["--plugin", "link.py", "greet", "you"]) == 0
    assert main(["--plugin", "link.py", "info", "loss/real:none"]) == 0
    assert "from      link.py sha256:" in capsys.readouterr().out


def test_a_name_need_not_be_english(write, capsys):
    write("from graftwork import register\n@register('metric')\ndef mine(): pass", "ünï.py")
    assert main(["--plugin", "ünï.py", "list", "metric"]) == 0
    assert "mine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("class Home:\n    @register('metric', 'lost')\n    class Inner: pass", "Home.Inner"),
        (
            "def make():\n    @register('metric', 'lost')\n    def inner(): pass\nmake()",
            "make.<locals>.inner",
        ),
        ("for name in ('lost', 'b'):\n    @register('metric', name)\n    def one(): pass", "one"),
    ],
)
def test_a_mark_on_what_cannot_be_imported_is_not_passed_over(write, capsys, source, where):
    write("from graftwork import register\n@register('metric')\ndef kept(): pass\n" + source)
    assert main(["--plugin", "mine.py", "list"]) == 2
    assert f"mine.py: ValueError: metric/lost is {where}, which no name of the module leads to" in (
        capsys.readouterr().err
    )


def test_a_mark_that_a_wrapper_takes_over_counts(write, capsys):
    write("""
        from functools import wraps
        from graftwork import register

        def wrapped(function):
            return wraps(function)(lambda: function())

        @wrapped
        @register("metric")
        def one(): pass
    """)
    assert main(["--plugin", "mine.py", "list", "metric"]) == 0
    assert "  one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "source", "sentence"),
    [
        ("mine.py", "x = = 1", "mine.py: SyntaxError: invalid syntax (mine.py, line 1)"),
        ("mine.py", "\n\nraise ValueError('no\\nink')", "mine.py: line 3: ValueError: no ink"),
        ("mine.py", "import sys\nsys.exit()", "mine.py: line 2: SystemExit"),
        ("mine.py", "import nowhere", "mine.py: line 1: ModuleNotFoundError: No module named 'nowhere'"),
        ("mine.py", "def unmarked(): pass", "mine implements none of the hooks"),
        (
            "mine.py",
            """
            from graftwork import hookimpl
            @hookimpl
            def graftwork_components():
                yield 1 / 0
            """,
            "mine.py: line 5: ZeroDivisionError: division by zero",
        ),
        (
            "mine.py",
            "from graftwork import register\n@register('optimiser')\ndef one(): pass",
            "mine.py: optimiser/one is of an undeclared kind 'optimiser', did you mean 'optimizer'?",
        ),
        (
            "mine.py",
            "from graftwork import register\nregister('metric')(3)",
            "mine.py: line 2: TypeError: register marks a class or a function, got 3",
        ),
        (
            "mine.py",
            "from graftwork import register\nf = register('metric')(lambda: 1)",
            "mine.py: line 2: ValueError: '<lambda>' is no name of a component, which is",
        ),
        (
            "mine.py",
            "from graftwork import register\n@register\ndef one(): pass",
            "mine.py: line 2: TypeError: register takes the kind first, @register('task'), got <function one",
        ),
        (
            "mine.py",
            "from graftwork import hookimpl\n@hookimpl\ndef graftwork_kinds(): pass",
            "mine.py: TypeError: graftwork_kinds() must yield Kinds, got None",
        ),
        ("mine.txt", "", "mine.txt: must be a Python file, whose name ends in .py"),
        ("my-own.py", "", "my-own.py: must have a name that Python can import"),
        ("json.py", "", "json.py: the module name 'json' is taken by "),
        ("folder.py/inner.txt", "", "folder.py: cannot be read: Is a directory"),
        ("a.py", "", "absent.py: cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_a_plugin_is_one_sentence(write, capsys, name, source, sentence):
    write(source, name)
    named = "absent.py" if name == "a.py" else name.partition("/")[0]
    assert main(["--plugin", named, "list"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("graftwork: error: --plugin ")
    assert sentence in told
    assert told.count("\n") == 1


def test_an_error_beside_the_file_says_where(write, capsys):
    write("import broken")
    write("\n\n1 / 0", "broken.py")
    assert main(["--plugin", "mine.py", "list"]) == 2
    assert "--plugin mine.py: broken.py, line 3: ZeroDivisionError" in capsys.readouterr().err


def test_the_name_of_an_installed_command_is_taken(write, capsys, plugins_folder):
    write_plugin(plugins_folder, "other", MINE.replace("mine:", "graftwork_other:"))
    write(MINE)
    assert main(["--plugin", "mine.py", "greet", "you"]) == 2
    assert "--plugin mine.py: the command 'greet' is taken by graftwork-other 1.0;" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--plugin"], "--plugin needs a FILE"),
        (["list", "--plugin", "mine.py"], "it stands before the command"),
        (["--plugin", "mine.py", "gret"], "no command called 'gret', did you mean 'greet'?"),
    ],
)
def test_the_option_stands_before_the_command(write, capsys, arguments, sentence):
    write(MINE)
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_the_name_of_an_installed_plugin_is_taken(write, capsys, plugins_folder):
    write_plugin(plugins_folder, "other", MINE.replace("mine:", "graftwork_other:"))
    write(MINE, "other.py")
    assert main(["--plugin", "other.py", "list"]) == 2
    assert "the plugin name 'other' is taken by graftwork-other 1.0" in capsys.readouterr().err


def test_ctrl_c_while_a_file_loads_is_the_users(write):
    write("raise KeyboardInterrupt")
    assert main(["--plugin", "mine.py", "list"]) == 130


def test_what_a_file_prints_while_it_loads_is_no_output(write, capsys):
    write("print('loading')\n" + MINE)
    assert main(["--plugin", "mine.py", "greet", "you"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("hello you\n", "loading\n")


def test_another_process_is_given_the_same_files(write):
    write(MINE)
    with plugin_files(["mine.py"]):
        assert plugin_file_arguments() == ["--plugin", "mine.py"]
    assert plugin_file_arguments() == []


SPAWNS = """
import multiprocessing, sys
import helper
from graftwork import Command, hookimpl

class Work:
    def run(self): print("a child has", helper.NAME, flush=True)

class Start:
    def configure(self, parser): pass
    def run(self, arguments):
        import pluggy
        print(pluggy.__name__, flush=True)
        for method in ("fork", "spawn", "forkserver"):
            child = multiprocessing.get_context(method).Process(target=Work().run)
            child.start()
            child.join()
        return child.exitcode

@hookimpl
def graftwork_commands():
    yield Command("start", "start processes", "mine:Start")
"""


def test_processes_that_a_file_starts_find_it_and_what_lies_beside_it(write):
    write(SPAWNS, "folder/mine.py")
    write("NAME = 'help'", "folder/helper.py")
    write("raise SystemExit('it took the place of what is installed')", "folder/pluggy.py")
    result = subprocess.run(
        [sys.executable, "-m", "graftwork", "--plugin", "folder/mine.py", "start"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GRAFTWORK_PLUGINS": "none"},
    )
    assert result.stdout.splitlines() == ["pluggy", *3 * ["a child has help"]], result.stderr
    assert result.returncode == 0


def test_no_recipe_and_no_variable_names_a_file(write, tmp_path, monkeypatch, capsys):
    write("open('ran', 'w')\n" + MINE)
    write('[task]\nname = "mine:one"\n[plugin]\nname = "mine.py"\n', "recipe.toml")
    monkeypatch.setenv("GRAFTWORK_PLUGINS", "mine.py,mine")
    with pytest.raises(RecipeError, match="no task called 'mine:one'"):
        load_recipe("recipe.toml")
    assert main(["doctor"]) == 0
    assert not (tmp_path / "ran").exists()
