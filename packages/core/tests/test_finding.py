"""Finding what there is and what it may be told: info, list, new recipe, --help and completion.

Reached from here: ``completion.py``, ``new.py``, ``recipe_options.py``, ``terminal.py``.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from graftwork import build_recipe, load_recipe
from graftwork.cli import main
from graftwork.completing import candidates
from graftwork.new_recipe import commented
from graftwork.registry import registry_in_use


def _sibling(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


toy = _sibling("toy_recipe")


@pytest.fixture(autouse=True)
def registry(add_plugin, discover, plugins_folder, monkeypatch, tmp_path):
    add_plugin("kit", toy.KIT)
    toy.write_recipe_package(plugins_folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    used = discover()
    with registry_in_use(used):
        yield used
    sys.modules.pop("kit_recipes", None)


@pytest.fixture
def said(capsys):
    def say(*arguments, code=0):
        assert main(list(arguments)) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return say


def one_line(text):
    return " ".join(text.split())


def test_info_of_a_recipe_tells_every_option_with_value_default_and_meaning(said):
    text = said("info", "letters")  # a task has the name too
    assert text.startswith("recipe/letters   letters of a scribe")
    assert "see also  task/kit:letters" in text
    told = one_line(text)
    assert "length = 1 whole number, default 2 pages of a letter." in told
    assert "paper 'laid' or 'wove', default laid sort of paper." in told
    assert "[model] model/scribe: a scribe patience float, default 0.5 how much of it." in told
    assert "[optimizer] optimizer/scale: scales lr = 0.002 float, default 0.1 step size." in told
    assert "[trainer.by] strategy/pigeon: by air range_km float, default 40.0" in told
    assert "optimizer the name of" not in told, "it has a section of its own"


@pytest.mark.parametrize("columns", [40, 80])
def test_it_fits_the_terminal(said, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    Path("mine.toml").write_text(toy.RECIPE)
    assert max(map(len, said("info", "mine.toml").splitlines())) <= columns


def test_stages_are_told_one_after_another(said):
    Path("staged.toml").write_text(toy.STAGED)
    told = one_line(said("info", "staged.toml"))
    assert re.search("stage 'by-hand' .*model/scribe.*stage 'printed' .*copies = 7 whole number", told)
    assert told.count("pages of a letter") == 1
    assert "[task] as in stage 'by-hand'" in told


def test_every_section_is_told_once_where_what_takes_it_cannot_be_imported(add_plugin, discover, said):
    add_plugin(
        "absent",
        """
        @hookimpl
        def graftwork_components():
            yield Component(Kind.TASK, "essays", "module_that_is_nowhere:Essays", "essays")
        """,
    )
    recipe = toy.RECIPE.replace('"letters"', '"essays"').replace("length = 1", "pages = 1")
    Path("mine.toml").write_text(recipe)
    with registry_in_use(discover()):
        told = said("info", "mine.toml")
    sections = re.findall(r"^  \[([a-z.]+)\]  ", told, re.MULTILINE)
    assert sections == ["task", "model", "optimizer", "trainer", "trainer.by"]


def test_a_recipe_with_a_mistake_is_told_as_ever(said):
    Path("wrong.toml").write_text(toy.RECIPE.replace("lr =", "rl ="))
    assert "optimizer/scale has no option 'rl'" in said("info", "wrong.toml", code=2)


def test_help_tells_more_of_what_stands_beside_it(said):
    assert said("send", "letters", "--help").endswith("\nmore of letters\n")
    assert "more" not in said("send", "--help")


def test_info_takes_a_name_that_nothing_else_has(said):
    assert said("info", "press").startswith("model/press")
    assert "is the name of 2: write optimizer/scale or strategy/scale" in said("info", "scale", code=2)
    assert "nothing is called 'pres', did you mean model/press?" in said("info", "pres", code=2)
    assert "comes with graftwork-optim-core" in said("info", "gwt-adamw", code=2)


def test_list_searches_where_a_word_is_no_kind(said):
    found = said("list", "PRINTING")
    assert found.startswith("1 with 'PRINTING' in name, summary or paper\n\nmodel\n  press")
    assert "  press" in said("list", "arxiv:1440")
    assert said("list", "model").startswith("model\n")
    assert "did you mean 'letters'?" in said("list", "leters", code=2)


@pytest.mark.parametrize("source", [toy.RECIPE, toy.STAGED])
def test_a_new_recipe_means_the_same_and_so_do_the_defaults_in_it(registry, source):
    Path("mine.toml").write_text(source)
    text = commented("mine.toml", registry)
    assert tomllib.loads(text) == tomllib.loads(source)
    uncommented = re.sub(r"^#(?=[^ #])", "", text, flags=re.MULTILINE)
    before, after = load_recipe("mine.toml").resolve(), build_recipe(tomllib.loads(uncommented)).resolve()
    assert before.sections == after.sections
    assert "# how much of it. (float)\n#patience = 0.5\n" in text
    assert '#seal = "none"' in text
    assert "#[trainer.by]" in text


def test_a_new_recipe_keeps_remarks_where_they_belong(said):
    text = said("new", "recipe", "letters")
    assert "(whole number, default 2)\n# Short ones are read.\nlength = 1\n" in text
    assert "# Slow and steady.\n[model]\n# a scribe.\nname" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_value_of_several_lines_is_no_table(registry):
    source = toy.RECIPE.replace('"Letters."', '"""\n[task]\nlength = 3\n"""')
    Path("mine.toml").write_text(source)
    assert tomllib.loads(commented("mine.toml", registry)) == tomllib.loads(source)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sen"], ["send"]),
        (["--pl"], ["--plugin"]),
        (["--plugin", "x.py", "sen"], ["send"]),
        (["--plugin", ""], []),
        (["info", "strategy/"], ["strategy/pigeon", "strategy/scale"]),
        (["info", "pre"], ["press"]),
        (["info", "tra"], ["trainer/"]),
        (["list", "opt"], ["optimizer"]),
        (["list", "--k"], ["--kinds"]),
        (["send", ""], ["letters", "mine.toml"]),
        (["new", ""], ["recipe"]),
        (["new", "recipe", "m"], ["mine.toml"]),
        (["nowhere", ""], []),
    ],
)
def test_completion(registry, words, expected):
    Path("mine.toml").write_text(toy.RECIPE)
    assert candidates(words, registry) == expected


SHELLS = {
    "bash": """
        eval "$(graftwork completion bash)"
        COMP_LINE="graftwork info strategy/kit:pi"; COMP_POINT=${#COMP_LINE}
        _graftwork; echo "${COMPREPLY[*]}"
        COMP_LINE="graftwork inf"; COMP_POINT=${#COMP_LINE}; _graftwork; echo "${COMPREPLY[*]}"
    """,
    "zsh": """
        compdef() { : }; compadd() { shift ${@[(i)--]}; print -rn -- "$@" }; _files() { }
        eval "$(graftwork completion zsh)"
        words=(graftwork inf); CURRENT=2; PREFIX=inf; _graftwork; echo
    """,
    "fish": """
        graftwork completion fish | source
        complete -C 'graftwork inf'
    """,
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(plugins_folder, tmp_path, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    tool = tmp_path / "graftwork"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m graftwork "$@"\n')
    tool.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(plugins_folder),
        "GRAFTWORK_PLUGINS": "kit",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [shell, "-c", SHELLS[shell]], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.splitlines()[-1].split()[-1] == "info", done.stderr
