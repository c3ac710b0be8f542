"""On which keys of their recipes variants disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graftwork_trainer.report.recipe_keys import UNSET, differing, flatten, rates_first, value_text
from graftwork_trainer.report.variants import Variant


@dataclass(frozen=True, slots=True)
class Difference:
    """A recipe key on which variants disagree, with its value in each, ``unset`` where it is absent.

    ``one_sided`` is a key that only some of them have, as options of one optimizer are: such a row says less
    than the others, and a page may fold it away.
    """

    key: str
    values: tuple[str, ...]
    one_sided: bool = False


def differences(variants: Sequence[Variant]) -> list[Difference]:
    """Every recipe key on which the variants disagree: learning rates first, what only some have last."""
    tables = [flatten(variant.recipe) for variant in variants]
    found = [
        Difference(
            key,
            tuple(value_text(table.get(key, UNSET)) for table in tables),
            one_sided=any(key not in table for table in tables),
        )
        for key in rates_first(sorted(differing(tables)))
    ]
    return sorted(found, key=lambda difference: difference.one_sided)
