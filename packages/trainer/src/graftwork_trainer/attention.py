"""Another attention in a model: which installed conversion knows the library that the model is of.

A task whose parameter ``attention`` a recipe filled hands its model here, and needs to know neither the
library of the model nor the package that converts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from graftwork import Choice, GraftworkError, Kind, choose, get_registry
from graftwork.catalogue import package_of

_KIND = Kind.ATTENTION_CONVERSION
# In the configuration of a converted model, or on itself: which attention it was converted to.
RECORD = "graftwork_attention"


def record_of(model: Any) -> Mapping[str, Any] | None:
    """What a model was converted to, in plain data; None where it was not."""
    found: Mapping[str, Any] | None = getattr(getattr(model, "config", model), RECORD, None)
    return found


def convert_attention(
    model: nn.Module, attention: Choice | str | Callable[..., nn.Module], *, max_len: int | None = None
) -> nn.Module:
    """Replace every self-attention of a model.

    The conversion is the component of the kind ``attention-conversion`` that is called as the top-level
    module of the model's class, or of the nearest class that it derives from, with hyphens for underscores.

    Args:
        model: of a library, its classes or classes derived from them; changed in place.
        attention: the recipe's choice; a registered name; or a function of ``(dim, heads, max_len, *,
            layer_index)`` that builds a mixer.
        max_len: the largest number of tokens that the model will see; by default what the model is made for.

    Returns:
        The same model.

    Raises:
        GraftworkError: nothing installed converts models of this library, the model is none that can be
            converted, or the attention does not fit it; the model is then as it was.
    """
    registry = get_registry()
    library = _library_of(model, {entry.component.name for entry in registry.entries(_KIND)})
    convert = registry.resolve(registry.find_default(_KIND, library))
    if isinstance(attention, str):
        attention = choose(Kind.ATTENTION, attention)
    try:
        converted: nn.Module = convert(model, attention, max_len=max_len)
    except ValueError as error:
        raise GraftworkError(str(error)) from error
    return converted


def _library_of(model: nn.Module, known: set[str]) -> str:
    """The nearest library of a model's classes that has a conversion, or would with a package of ours."""
    modules = dict.fromkeys(cls.__module__.partition(".")[0] for cls in type(model).__mro__)
    libraries = [module.replace("_", "-") for module in modules if module != "builtins"]
    for library in libraries:
        if library in known or package_of(_KIND, library):
            return library
    can_be = f"models of {', '.join(sorted(known))} can be" if known else "nothing installed converts any"
    raise GraftworkError(
        f"the attention of {type(model).__name__} of {libraries[0]} cannot be replaced: {can_be}; leave "
        f"[attention] out, take such a model, or register an {_KIND} called {libraries[0]!r}"
    )
