"""``graftwork list``; imports no target."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby

from graftwork.errors import UnknownNameError, did_you_mean
from graftwork.registry import Entry, Registry, get_registry
from graftwork.terminal import wrap


class ListCommand:
    """``graftwork list [KIND | WORD]``; imports no target."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "word",
            nargs="?",
            metavar="KIND|WORD",
            help="only this kind, `optimizer` for instance; or what has it in name, summary or paper",
        )
        parser.add_argument("--kinds", action="store_true", help="list the kinds and their contracts instead")

    def run(self, arguments: argparse.Namespace) -> int:
        registry = get_registry()
        if arguments.kinds:
            print(
                "\n".join(
                    wrap(kind.contract, " " * 20, f"{kind.name:<18}  ") for kind in registry.kinds.values()
                )
            )
            return 0
        word = arguments.word
        if word is None or word in registry.kinds:
            entries = registry.entries(word)
            if not entries:
                print(f"no installed plugin registers any {word or 'component'}")
        else:
            entries = entries_with(word, registry)
            print(f"{len(entries)} with {word!r} in name, summary or paper\n")
        print("\n".join(list_lines(entries)))
        return 0


def entries_with(word: str, registry: Registry) -> list[Entry]:
    """What has a word in its name, summary or paper, in whatever case.

    Raises:
        UnknownNameError: nothing has.
    """
    entries = registry.entries()
    found = [
        entry
        for entry in entries
        if word.lower()
        in f"{entry.component.name}\n{entry.component.summary}\n{entry.component.paper or ''}".lower()
    ]
    if not found:
        known = {*registry.kinds, *(entry.component.name for entry in entries)}
        raise UnknownNameError(
            f"no kind is called {word!r}, and nothing has it in name, summary or paper"
            f"{did_you_mean(word, known)} (kinds: {', '.join(registry.kinds)})"
        )
    return found


def list_lines(entries: list[Entry]) -> Iterator[str]:
    """Lines of the list; a name that two plugins claim stands with its plugin, as it must be written."""
    claims = Counter(entry.component.reference for entry in entries)
    width = max((len(_shown_name(entry, claims)) for entry in entries), default=0)
    for kind, of_kind in groupby(entries, key=lambda entry: entry.component.kind):
        yield kind
        for entry in of_kind:
            paper = f" ({entry.component.paper})" if entry.component.paper else ""
            name = f"  {_shown_name(entry, claims):<{width}}  "
            needs = "".join(f"; {extra.description}" for extra in entry.component.extras)
            yield wrap(entry.component.summary + paper + needs, " " * len(name), name)
        yield ""


def _shown_name(entry: Entry, claims: Mapping[str, int]) -> str:
    alone = claims[entry.component.reference] == 1
    return entry.component.name if alone else f"{entry.plugin.name}:{entry.component.name}"
