"""The page around a body: self-contained, and closed to every script but its own.

Reached from here: ``page/templating.py``.
"""

from __future__ import annotations

import base64
import doctest
import hashlib
import re
from textwrap import dedent

import pytest
from markupsafe import Markup

from graftwork_trainer import page
from graftwork_trainer.page import table


@pytest.fixture
def written(tmp_path):
    """Write a page and return its text."""

    def write(body="", **options):
        page.write_page(tmp_path / "page.html", body, **{"title": "A page", **options})
        return (tmp_path / "page.html").read_text("utf-8")

    return write


def test_the_policy_names_the_digest_of_the_one_script(written):
    text = written()
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    assert dict(part.split(" ", 1) for part in policy.split("; ")) == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "script-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    # What stands before it would not be bound by it.
    assert text.index("Content-Security-Policy") < min(text.index("<style"), text.index("<title"))


def test_nothing_is_loaded(written):
    text = written()
    assert not re.search(r"https?:|url\(|@import|<link|src=", text)


def test_body_title_and_styles(written):
    text = written(Markup("<p>{}</p>").format("a < b"), title="<script>x</script>", styles=".mine { top: 0 }")
    assert "<main>\n<p>a &lt; b</p>\n</main>" in text
    assert "<title>&lt;script&gt;x&lt;/script&gt;</title>" in text
    assert text.index(".mine { top: 0 }") > text.index(".sortable")


def test_a_body_that_is_no_markup_is_escaped(written):
    assert "<main>\n&lt;b&gt;\n</main>" in written("<b>")


def test_every_variable_has_a_value_in_both_schemes(written):
    text = written()
    light, dark = re.findall(r":root \{(.*?)\n *\}", text, flags=re.DOTALL)[:2]
    colours = set(re.findall(r"(--[a-z]+(?:-\d+)?):", light))
    assert colours == set(re.findall(r"(--[a-z]+(?:-\d+)?):", dark))
    assert len(colours) == 7 + 2 * len(page.HUES)
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", text))
    assert used <= colours | {"--serif", "--sans", "--mono"}


def test_the_example_of_the_package_is_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    example = re.search(r"::\n\n(.*?)\n\n[^ ]", page.__doc__, flags=re.DOTALL)
    exec(dedent(example[1]), {})
    text = (tmp_path / "scores.html").read_text("utf-8")
    assert "What was found" in text
    assert ">0.91</td>" in text
    assert "<img src=" in text


def test_examples():
    outcome = doctest.testmod(table)
    assert outcome.attempted > 0
    assert outcome.failed == 0
