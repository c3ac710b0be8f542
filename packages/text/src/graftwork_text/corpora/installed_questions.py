"""Questions that every installation can ask: which function of a standard module a sentence is about.

The sentence is the first of the function's docstring; the options are its name and those of three other
documented functions (or methods) of the same module. Needs no download and no licence. Half of the answer is
often in the sentence's own words, so compare with an untrained model, not with chance; and only on the same
version of Python (:attr:`QuestionCorpus.identity` records it).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from graftwork_text.corpora.installed import STANDARD_LIBRARY, source_files, source_of, version_of
from graftwork_text.corpora.questions import QuestionCorpus, Rows

# A public function or method whose docstring begins on the line after its signature.
_DOCUMENTED = re.compile(
    r"^[ \t]*(?:async )?def (?P<name>[a-z]\w*)\((?:[^()]|\([^()]*\))*\)(?: *->[^:\n]+)?:\n"
    r'[ \t]+[rR]?"""(?P<text>[^"\\]+?)(?:"""|\n[ \t]*\n)',
    re.MULTILINE,
)
_SENTENCE = re.compile(r"[A-Z][^.:`|<>=]*\.(?= |$)")
_FEWEST_WORDS, _MOST_WORDS = 4, 30
_OPTIONS = 4


def installed_questions() -> QuestionCorpus:
    """Return the questions on the standard library's functions; each is a choice among four."""
    identity = {STANDARD_LIBRARY: version_of(STANDARD_LIBRARY), "extraction": "functions by docstring, 1"}
    return QuestionCorpus(
        "installed-questions", identity, lambda: {"train": _rows(source_of(STANDARD_LIBRARY))}
    )


def _rows(root: Path) -> Rows:
    for file in source_files(root):
        parts = file.relative_to(root).with_suffix("").parts
        if any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        module = ".".join(part for part in parts if part != "__init__")
        sentence_of = documented_functions(file)
        if len(sentence_of) >= _OPTIONS:
            for name, sentence in sentence_of.items():
                yield f"{module}.{name}", _question(module, name, sentence, sentence_of)


def documented_functions(file: Path) -> dict[str, str]:
    """Names with the first sentences of their docstrings, but for sentences that give the name away."""
    try:
        source = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    found: dict[str, str] = {}
    for function in _DOCUMENTED.finditer(source):
        sentence = _SENTENCE.match(" ".join(function["text"].split()))
        if sentence is None or not _FEWEST_WORDS <= len(sentence[0].split()) <= _MOST_WORDS:
            continue
        if not re.search(rf"\b{function['name']}\b", sentence[0], re.IGNORECASE):
            found.setdefault(function["name"], sentence[0])
    return found


def _question(module: str, name: str, sentence: str, names: Mapping[str, str]) -> dict[str, Any]:
    def shuffled(names: Iterable[str], draw: str) -> list[str]:
        return sorted(
            names, key=lambda one: hashlib.sha256(f"{draw} {module}.{name} {one}".encode()).digest()
        )

    others = shuffled((other for other in names if other != name), "choose")[: _OPTIONS - 1]
    return {
        "context": sentence,
        "question": f"Which function of the module {module} is this?",
        "options": shuffled([name, *others], "order"),
        "answer": name,
    }
