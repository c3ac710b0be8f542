"""The command line, as a user meets it: another process, its exit code and what it prints.

Reached from here: ``standard_streams.py``, ``lazy.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

KIT = '''
class Greet:
    def configure(self, parser): parser.add_argument("name")
    def run(self, arguments):
        print(f"hello {arguments.name}")
        return 0

def scale(params, lr: float = 0.1, nesterov: bool = False):
    """Scale the gradient.

    Args:
        lr: step size.
    """

@hookimpl
def graftwork_components():
    long = 20 * "very "
    yield Component(Kind.OPTIMIZER, "scale", "graftwork_kit:scale", f"scales {long}well", "arXiv:1")

@hookimpl
def graftwork_commands():
    yield Command("greet", "say hello", "graftwork_kit:Greet")
'''
BROKEN = "import module_that_is_nowhere"


@pytest.fixture(autouse=True)
def kit(add_plugin):
    add_plugin("kit", KIT)


def test_list_shows_names_and_summaries_in_80_columns(command):
    result = command("list", "optimizer")
    assert result.returncode == 0
    assert result.stdout.startswith("optimizer\n")
    assert "  scale" in result.stdout
    assert "(arXiv:1)" in " ".join(result.stdout.split())
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_list_kinds_shows_contracts(command):
    result = command("list", "--kinds")
    assert "optimizer" in result.stdout
    assert "fit(task, recipe, run)" in result.stdout


def test_info_prints_the_signature_as_the_schema(command):
    result = command("info", "optimizer/scale")
    assert "lr  float, default 0.1" in result.stdout
    assert "step size." in result.stdout
    assert "nesterov  true or false, default false" in result.stdout
    assert "supplied by the caller: params" in result.stdout
    assert "graftwork-kit 1.0 (optimizer/kit:scale)" in result.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["list", "--help"], ["info", "--help"], ["greet", "--help"]]
)
def test_help_fits_80_columns(command, arguments):
    result = command(*arguments)
    assert result.returncode == 0
    assert result.stdout.startswith("usage: graftwork")
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_plugin_adds_a_command(command):
    assert command("greet", "you").stdout == "hello you\n"
    assert "say hello" in command("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["gret", "x"], "no command called 'gret', did you mean 'greet'?"),
        (["greet"], "the following arguments are required: name (see `graftwork greet --help`)"),
        (["info", "optimizer/scal"], "did you mean 'scale'"),
        (
            ["list", "optimizers"],
            "nothing has it in name, summary or paper, did you mean 'optimizer'?",
        ),
        (["--verbose", "list"], "unrecognized arguments: --verbose"),
        (["help"], "no command called 'help'; it is `graftwork --help`"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(command, arguments, sentence):
    result = command(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("graftwork: error: ")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_command_of_an_absent_package_names_the_package(command):
    result = command("train", "x", GRAFTWORK_PLUGINS="kit")
    assert result.returncode == 2
    assert "graftwork-trainer" in result.stderr


def test_a_broken_plugin_is_one_warning_and_the_rest_works(command, add_plugin):
    add_plugin("broken", BROKEN)
    result = command("greet", "you")
    assert result.stdout == "hello you\n"
    assert (
        "warning: plugin 'broken' of graftwork-broken 1.0 was skipped: ModuleNotFoundError" in result.stderr
    )
    assert result.stderr.count("\n") == 1


LEAVES = "sys.exit('needs something')"
# By where the plugin's code runs.
PLACES = {
    "module": LEAVES,
    "hook": f"""
@hookimpl
def graftwork_components():
    {LEAVES}
""",
    "target": """
@hookimpl
def graftwork_components():
    yield Component(Kind.OPTIMIZER, "leaver", "leaving:Thing", "leaves")
""",
    "signature": f"""
class Late:
    def __getattr__(self, name): {LEAVES}
late = Late()
def leaver(params, lr: "late.type" = 1): pass

@hookimpl
def graftwork_components():
    yield Component(Kind.OPTIMIZER, "leaver", "graftwork_leaver:leaver", "leaves")
""",
    "recipe": """
@hookimpl
def graftwork_components():
    yield Component(Kind.RECIPE, "leaver", "leaving.inner:leaver.toml", "leaves")
""",
    "command": """
@hookimpl
def graftwork_commands():
    yield Command("leave", "leaves", "leaving:Leave")
""",
}


@pytest.fixture
def leaver(add_plugin, plugins_folder):
    """Write a plugin that leaves in one of the places, and prints before."""

    def add(place):
        add_plugin("leaver", f"import sys\nprint('noise of the plugin')\n{PLACES[place]}")
        (plugins_folder / "leaving.py").write_text(f"import sys\nprint('noise of a target')\n{LEAVES}")

    return add


@pytest.mark.parametrize("place", ["module", "hook"])
def test_a_plugin_that_leaves_is_skipped_alone(command, leaver, place):
    leaver(place)
    result = command("greet", "you")
    assert (result.returncode, result.stdout) == (0, "hello you\n")
    cause = "plugin 'leaver' of graftwork-leaver 1.0{}: SystemExit: needs something"
    assert result.stderr == f"noise of the plugin\ngraftwork: warning: {cause.format(' was skipped')}\n"
    doctor = command("doctor")
    assert doctor.returncode == 1
    assert f"problem: {cause.format('')}" in doctor.stdout
    assert "noise" not in doctor.stdout


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("target", ["info", "optimizer/leaver"]),
        ("signature", ["info", "optimizer/leaver"]),
        ("recipe", ["info", "recipe/leaver"]),
        ("command", ["leave"]),
    ],
)
def test_what_leaves_later_is_one_sentence(command, leaver, place, arguments):
    leaver(place)
    result = command(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "SystemExit: needs something" in result.stderr.splitlines()[-1]
    assert result.stderr.splitlines()[-1].startswith("graftwork: error: ")
    assert command("greet", "you").stdout == "hello you\n"
    assert command("doctor").returncode == 0
    resolved = command("doctor", "--resolve")
    assert resolved.returncode == (0 if place == "command" else 1)
    assert "noise" not in resolved.stdout


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("METADATA", b"\xff\xfe", "of an unknown distribution 0"),
        ("METADATA", b"Metadata-Version: 2.1\n", "of an unknown distribution 0"),
        ("entry_points.txt", b"\xff\xfe", "its entry_points.txt cannot be read: UnicodeDecodeError"),
        ("entry_points.txt", b"[graftwork]\nleaver\n", "its entry_points.txt cannot be read: TypeError"),
    ],
)
def test_damaged_metadata_disable_one_plugin_alone(command, leaver, plugins_folder, file, content, cause):
    leaver("module")
    (plugins_folder / "graftwork_leaver-1.0.dist-info" / file).write_bytes(content)
    assert command("greet", "you").stdout == "hello you\n"
    doctor = command("doctor")
    assert doctor.returncode == 1
    assert "1 problem(s) found" in doctor.stdout
    assert cause in doctor.stdout


def test_doctor_reports_health_by_its_exit_code(command, add_plugin):
    alone = {"GRAFTWORK_PLUGINS": "kit"}
    healthy = command("doctor", "--resolve", **alone)
    assert healthy.returncode == 0, healthy.stdout
    assert "no problems found" in healthy.stdout
    add_plugin("broken", BROKEN)
    ill = command("doctor", GRAFTWORK_PLUGINS="kit,broken")
    assert ill.returncode == 1
    assert "problem: plugin 'broken' of graftwork-broken 1.0: ModuleNotFoundError" in ill.stdout
    assert command("doctor", **alone).returncode == 0
    assert "disabled" in command("doctor", **alone).stdout


@pytest.mark.parametrize("variable", ["GRAFTWORK_PLUGINS", "GRAFTWORK_DISABLE"])
def test_doctor_notes_plugins_that_are_chosen_and_not_there(command, variable):
    note = f"note: {variable} names 'kitt', which no installed plugin is called, did you mean 'kit'?"
    assert note in command("doctor", **{variable: "kitt"}).stdout
    assert variable not in command("doctor", **{variable: "kit"}).stdout


def test_doctor_notes_contested_names(command, add_plugin):
    add_plugin("kit-two", KIT.replace("graftwork_kit", "graftwork_kit_two").replace('"greet"', '"wave"'))
    result = command("doctor", GRAFTWORK_PLUGINS="kit,kit-two")
    assert result.returncode == 0
    assert "note: optimizer/scale is claimed by more than one plugin" in result.stdout


def test_doctor_finds_targets_that_do_not_resolve(command, add_plugin):
    add_plugin(
        "hollow",
        """
        @hookimpl
        def graftwork_components():
            yield Component(Kind.OPTIMIZER, "hollow", "graftwork_hollow:Nothing", "its target is missing")
        """,
    )
    assert command("doctor", GRAFTWORK_PLUGINS="hollow").returncode == 0
    result = command("doctor", "--resolve", GRAFTWORK_PLUGINS="hollow")
    assert result.returncode == 1
    assert "problem: optimizer/hollow: graftwork_hollow:Nothing" in result.stdout


def test_doctor_flags_a_plugin_that_imports_torch(command, add_plugin, plugins_folder):
    (plugins_folder / "torch.py").write_text("")
    add_plugin("heavy", "import torch\n" + KIT.replace("graftwork_kit", "graftwork_heavy"))
    assert "imports torch when loaded" in command("doctor", GRAFTWORK_PLUGINS="heavy").stdout


def test_strict_mode_stops(command, add_plugin):
    add_plugin("broken", BROKEN)
    result = command("list", GRAFTWORK_STRICT="1")
    assert result.returncode != 0
    assert "module_that_is_nowhere" in result.stderr


@pytest.fixture
def in_shell(tmp_path):
    """Run ``python -m graftwork list --kinds`` with its streams redirected by a shell."""

    def run(redirection):
        script = f'"$0" -m graftwork list --kinds {redirection}'
        environment = {**os.environ, "GRAFTWORK_PLUGINS": "none"}
        return subprocess.run(
            ["sh", "-c", script, sys.executable], capture_output=True, text=True, env=environment, check=False
        )

    return run


def test_a_full_disk_behind_standard_output_is_one_sentence(in_shell):
    result = in_shell(">/dev/full")
    assert result.returncode == 2
    assert result.stderr == "graftwork: error: standard output: No space left on device\n"


@pytest.mark.parametrize("redirection", ["<&- >&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", "| true"])
def test_streams_that_are_closed_or_full_are_no_error(in_shell, redirection):
    result = in_shell(redirection)
    assert result.returncode == 0
    assert result.stderr == ""
