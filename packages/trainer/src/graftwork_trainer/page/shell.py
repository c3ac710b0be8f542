"""The page around a body: head, content security policy, colours of both schemes, type, and the sort script.

The policy lets nothing be loaded, pictures but from ``data:`` URIs, and no script run but the page's own,
which it names by its digest. So neither an event handler nor a ``javascript:`` link in a body does anything.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from graftwork_trainer.page.colours import HUES
from graftwork_trainer.page.templating import templates

_PACKAGE = "graftwork_trainer.page"


def write_page(path: Path, body: Markup, *, title: str, styles: str = "") -> None:
    """Write a whole page, in UTF-8.

    Args:
        path: the file; its folder exists.
        body: what stands in ``main``.
        title: of the window; a heading is the body's own affair.
        styles: CSS beyond the shell's; may name its variables, ``var(--muted)`` for instance.
    """
    script = _own("sort.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (
        templates(_PACKAGE)
        .get_template("shell.html.jinja")
        .render(
            title=title,
            body=body,
            hues=HUES,
            styles=Markup(_own("page.css") + styles),
            script=Markup(script),
            script_digest=digest,
        )
    )
    partial = path.with_name(f"{path.name}.partial")
    # A file name that is no UTF-8 is shown with question marks.
    partial.write_bytes(page.encode("utf-8", "replace"))
    partial.replace(path)


@cache
def _own(name: str) -> str:
    return (files(_PACKAGE) / name).read_text("utf-8")
