"""Which test files test a module, by the rule of CONTRIBUTING.md, and which modules have none.

    python .ci/tests_of.py packages/text/src/graftwork_text/corpora/tables.py ...
    python .ci/tests_of.py            # names the modules without a test, and exits with 1 if there are any

The tests of ``src/graftwork_x/a/b.py`` are ``tests/a/test_b.py``, what else of ``tests/a/`` imports it, the
files of ``tests/a/b/``, and any test file whose docstring names ``a/b.py`` in double backquotes. A module of
constants or protocols, whose functions do nothing, needs none.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class TestFile:
    path: Path
    imported: frozenset[str]
    """Modules, by their dotted names, and names in them: ``from a import b`` gives ``a`` and ``a.b``."""
    named: frozenset[str]
    """Modules that the docstring names, by their paths inside the package."""


def imports(tree: ast.AST, package: str = "") -> Iterable[tuple[str, str]]:
    """What is imported anywhere in a file, relatively or not, as pairs of a module and a name in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def does_something(tree: ast.AST) -> bool:
    """Whether a function of a module has a statement: one of a protocol has a docstring, or dots."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    bodies = (statement for function in functions for statement in function.body)
    return any(not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)) for s in bodies)


class Package:
    """The modules and the test files of one package."""

    def __init__(self, folder: Path) -> None:
        (self.source,) = folder.glob("src/graftwork*")
        self.tests = folder / "tests"
        self.modules = [path for path in sorted(self.source.rglob("*.py")) if not path.name.startswith("__")]
        # What an ``__init__`` hands on is tested where it is made.
        made_in = {
            (package, name): module
            for path in self.source.rglob("__init__.py")
            for package in [self.dotted(path.parent)]
            for module, name in imports(parsed(path), package)
        }
        self.test_files = []
        for path in sorted(self.tests.rglob("test_*.py")):
            tree = parsed(path)
            imported = {
                name
                for module, part in imports(tree)
                for name in (module, f"{module}.{part}", made_in.get((module, part), ""))
            }
            named = re.findall(r"``([\w/]+\.py)``", ast.get_docstring(tree) or "")
            self.test_files.append(TestFile(path, frozenset(imported), frozenset(named)))

    def dotted(self, module: Path) -> str:
        return ".".join(module.with_suffix("").relative_to(self.source.parent).parts)

    def tests_of(self, module: Path) -> list[Path]:
        inside = module.relative_to(self.source)
        home = self.tests / inside.parent
        dotted = self.dotted(module)
        return [
            file.path
            for file in self.test_files
            if inside.as_posix() in file.named
            or file.path == home / f"test_{module.name}"
            or file.path.is_relative_to(home / module.stem)
            or (file.path.parent == home and dotted in file.imported)
        ]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def main(asked: list[str]) -> int:
    packages = [Package(folder) for folder in sorted(ROOT.glob("packages/*"))]
    if asked:
        modules = {module: package for package in packages for module in package.modules}
        for name in asked:
            module = Path(name).resolve()
            if module not in modules:
                sys.exit(
                    f"{name} is no module of a package: packages/NAME/src/graftwork_NAME/MODULE.py is one"
                )
            print(*(path.relative_to(ROOT) for path in modules[module].tests_of(module)), sep="\n")
        return 0
    without = [
        module
        for package in packages
        for module in package.modules
        if does_something(parsed(module)) and not package.tests_of(module)
    ]
    for module in without:
        print(f"{module.relative_to(ROOT)} has no test that is found from it, see CONTRIBUTING.md")
    gone = [
        (file.path.relative_to(ROOT), name)
        for package in packages
        for file in package.test_files
        for name in sorted(file.named)
        if package.source / name not in package.modules
    ]
    for path, name in gone:
        print(f"{path} names {name}, which is no module of its package")
    return 1 if without or gone else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
