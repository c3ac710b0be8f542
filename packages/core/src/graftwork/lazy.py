"""Public names of a package that are imported when they are first used.

Loading a plugin imports its package, and that must not cost the import of torch.
"""

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy_names(
    package: str, homes: "Mapping[str, str]"
) -> "tuple[Callable[[str], object], Callable[[], list[str]]]":
    """Return a package's ``__getattr__`` and ``__dir__``.

    Args:
        package: the package's ``__name__``.
        homes: public name to the submodule that defines it, relative to the package.

    >>> find, _ = lazy_names("xml", {"parse": "dom.minidom"})
    >>> find("parse").__module__
    'xml.dom.minidom'
    """

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return find, lambda: sorted(homes)
