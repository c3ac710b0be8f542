"""Components of other packages, by their registered names: a reproduction imports none of them."""

from __future__ import annotations

from typing import Any

from graftwork import GraftworkError, get_registry


def build_by_name(reference: str, package: str, **options: Any) -> Any:
    """Build a component.

    Args:
        reference: ``kind/name``.
        package: the distribution that registers it, for the message.
        **options: for the target.

    Raises:
        GraftworkError: no installed package registers that name.
    """
    registry = get_registry()
    try:
        entry = registry.find(reference)
    except GraftworkError as error:
        raise GraftworkError(f"this reproduction needs {reference}: install {package} ({error})") from error
    return registry.resolve(entry)(**options)
