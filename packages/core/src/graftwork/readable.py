"""Names that somebody gave, as they can be shown: what would not be seen, or moves other text, is escaped."""

from __future__ import annotations

import re

# Control characters, separators of lines and paragraphs, marks that turn text round, the byte order mark.
_HIDDEN = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_ANY = re.compile(f"[{_HIDDEN}]")
_BUT_LINES = re.compile(rf"(?![\n\t])[{_HIDDEN}]")


def readable(text: str, *, lines: bool = False) -> str:
    r"""A text without characters that a terminal or a page would act on instead of showing them.

    Args:
        text: a name, or with ``lines`` a text that holds names.
        lines: whether line ends and tabs stay as they are.

    >>> readable("a\nb\x1b[31m\u202etxt.exe"), readable("模型 é\n", lines=True)
    ('a\\nb\\x1b[31m\\u202etxt.exe', '模型 é\n')
    """
    return (_BUT_LINES if lines else _ANY).sub(lambda found: found[0].encode("unicode_escape").decode(), text)
