"""Docstring prose: what counts as a docstring, what counts as prose, and the corpus of a few modules.

Reached from here: ``corpora/installed.py``.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from graftwork import GraftworkError
from graftwork_text.corpora.installed_prose import docstring_prose, prose_of_modules

MODULES = ("json", "email", "logging", "concurrent")


def prose_of(tmp_path: Path, source: str) -> list[str]:
    file = tmp_path / "module.py"
    file.write_text(source, "utf-8")
    return list(docstring_prose(file))


def test_docstrings_of_modules_classes_and_functions(tmp_path: Path) -> None:
    source = '''
"""The first paragraph stands at the top of
the module and goes on.

The second one is apart from the first by a blank line."""

class Thing:
    """A thing that is described by a sentence of enough words."""

    def act(self):
        r\'\'\'Raw strings in single quotes are docstrings of functions as well.\'\'\'
'''
    assert prose_of(tmp_path, source) == [
        "The first paragraph stands at the top of the module and goes on.",
        "The second one is apart from the first by a blank line.",
        "A thing that is described by a sentence of enough words.",
        "Raw strings in single quotes are docstrings of functions as well.",
    ]


def test_other_strings_do_not_mislead(tmp_path: Path) -> None:
    source = '''
# A comment with """ three quotes must not open a string that never ends here.
short = 'a " quote and an escaped \\' one'
template = """This is assigned to a name and so it is not a docstring at all.
"""
value = "triple \\"\\"\\" inside of an ordinary string is only text."

def act():
    """Only this sentence here is a docstring in the whole of the file."""
'''
    assert prose_of(tmp_path, source) == ["Only this sentence here is a docstring in the whole of the file."]


@pytest.mark.parametrize(
    "paragraph",
    [
        "Too short a sentence.",
        "This one has enough words in it but no end mark",
        "x_1 y_2 z_3 a_4 = f(b_5) + g[c_6] * 3 - d_7 / 2.",
        ">>> print of an example session that runs over many plain words.",
        "A directive follows here and should be left out:: like this one.",
        "A backslash \\\\frac in here means that a formula is part of it.",
    ],
)
def test_what_is_not_prose(tmp_path: Path, paragraph: str) -> None:
    assert prose_of(tmp_path, f'"""{paragraph}"""\n') == []


def test_file_that_is_not_utf8_has_no_prose(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes(
        b'"""A docstring with a byte \xe9 that is not valid in the encoding."""'
    )
    assert list(docstring_prose(tmp_path / "latin.py")) == []


def test_agrees_with_the_syntax_tree() -> None:
    folder = Path(json.__file__).parent.parent / "logging"
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for file in folder.glob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        docstrings = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
        everything = " ".join(" ".join(docstrings).split())
        found = list(docstring_prose(file))
        assert found
        assert all(paragraph in everything for paragraph in found)


def test_documents_are_files_in_a_stable_order() -> None:
    first, second = (list(prose_of_modules(MODULES).read()) for _ in range(2))
    assert first == second
    identifiers = [document.identifier for document in first]
    assert len(set(identifiers)) == len(identifiers) > 20
    assert "email/message.py" in identifiers
    assert sum(len(document.text) for document in first) > 30_000


def test_no_paragraph_is_in_two_documents() -> None:
    paragraphs = [
        text for document in prose_of_modules(MODULES).read() for text in document.text.split("\n\n")
    ]
    assert len(set(paragraphs)) == len(paragraphs)


def test_identity_names_versions() -> None:
    import platform

    identity = prose_of_modules(("json", "pytest")).identity
    assert identity["json"] == f"{platform.python_implementation()} {platform.python_version()}"
    assert identity["pytest"] == pytest.__version__


def test_single_file_module() -> None:
    (document,) = prose_of_modules(("argparse",)).read()
    assert document.identifier == "argparse/argparse.py"


@pytest.mark.parametrize("module", ["no_such_module_here", "sys", "no_such.submodule"])
def test_module_without_source(module: str) -> None:
    with pytest.raises(GraftworkError, match=f"module '{module}' is not installed here or has no Python"):
        prose_of_modules((module,))
