"""Pages of one file that load nothing: the shell around a body, tables to sort, and thumbnails.

::

    from pathlib import Path
    from markupsafe import Markup
    from graftwork_trainer.page import Cell, Pictures, Table, read_picture, write_page

    scores = Table("Scores", ("name", "score"), [("a", Cell("0.91", 0.91)), ("b", Cell("0.87", 0.87))])
    body = Markup("\\n").join(["What was found", scores, Pictures([read_picture(Path("a.svg"), "A")])])
    write_page(Path("scores.html"), body, title="Scores")

What is put into a body is escaped, unless it is :class:`markupsafe.Markup` or has ``__html__`` as tables and
pictures do. Scripts do not run but for the page's own, which sorts tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graftwork.lazy import lazy_names

if TYPE_CHECKING:
    from graftwork_trainer.page.colours import HUES, Hue
    from graftwork_trainer.page.pictures import Picture, Pictures, read_picture
    from graftwork_trainer.page.shell import write_page
    from graftwork_trainer.page.table import Cell, Table

__all__ = ["write_page", "Table", "Cell", "Pictures", "Picture", "read_picture", "HUES", "Hue"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Cell": "table",
        "HUES": "colours",
        "Hue": "colours",
        "Picture": "pictures",
        "Pictures": "pictures",
        "Table": "table",
        "read_picture": "pictures",
        "write_page": "shell",
    },
)
