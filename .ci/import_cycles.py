"""No module needs another to be imported before it: which names a caller takes first is the caller's choice.

That holds where imports at the top of modules go round in no circle; one is named, and the exit code is 1.
Imports inside functions come later, and those under ``TYPE_CHECKING`` never.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent


def made_at_import(body: Iterable[ast.stmt]) -> Iterable[ast.Import | ast.ImportFrom]:
    """The import statements that run when a module does."""
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        elif isinstance(statement, ast.If):
            types_alone = "TYPE_CHECKING" in ast.unparse(statement.test)
            yield from made_at_import([*([] if types_alone else statement.body), *statement.orelse])
        elif isinstance(statement, ast.Try | ast.With | ast.ClassDef):
            handlers = [part for handler in getattr(statement, "handlers", []) for part in handler.body]
            yield from made_at_import([*statement.body, *handlers])


def imported(module: str, file: Path, modules: Mapping[str, Path]) -> set[str]:
    """The modules of its package that one needs; of the folders around it those that it takes names of."""
    found = set()
    for statement in made_at_import(ast.parse(file.read_text("utf-8"), str(file)).body):
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        else:
            parents = module if file.stem == "__init__" else module.rpartition(".")[0]
            up = parents.split(".")[: 1 - statement.level or None] if statement.level else []
            source = ".".join([*up, *([statement.module] if statement.module else [])])
            names = [f"{source}.{alias.name}" for alias in statement.names]
        for name in names:
            needed = name if name in modules else name.rpartition(".")[0]
            found.add(needed)
            while needed := needed.rpartition(".")[0]:
                if not module.startswith(f"{needed}."):
                    found.add(needed)
    return found & modules.keys() - {module}


def main() -> int:
    for sources in sorted(ROOT.glob("packages/*/src")):
        modules = {
            ".".join(file.relative_to(sources).with_suffix("").parts).removesuffix(".__init__"): file
            for file in sources.rglob("*.py")
        }
        graph = {module: imported(module, file, modules) for module, file in modules.items()}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as circle:
            print("imports go round in a circle:", " <- ".join(circle.args[1]))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
