"""The errors that the command line prints as one sentence and turns into exit code 2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graftwork.choice import Choice


class GraftworkError(Exception):
    """A mistake that the user can mend: the message names the option or file, and what would be right."""


class RecipeError(GraftworkError):
    """All mistakes of one recipe, a line each.

    Args:
        source: of the recipe.
        mistakes: a line each.
        choices: task and trainer as far as they are known, with the defaults of options that are wrong, by
            whom what else is wrong can be looked for.
    """

    def __init__(self, source: str, mistakes: Sequence[str], choices: Sequence[Choice] = ()) -> None:
        self.source = source
        self.mistakes = tuple(mistakes)
        self.choices = tuple(choices)
        count = f"{len(self.mistakes)} mistakes" if len(self.mistakes) > 1 else "1 mistake"
        super().__init__(f"{source}: {count}\n" + "\n".join(f"  {line}" for line in self.mistakes))


class OptionError(GraftworkError):
    """A component refused what it was built with.

    Args:
        sentence: for the user.
        component: its reference.
        option: that it is about; "" where no one option is.
    """

    def __init__(self, sentence: str, component: str = "", option: str = "") -> None:
        super().__init__(sentence)
        self.component, self.option = component, option

    def is_like(self, other: OptionError) -> bool:
        """Whether both are about one option; what they say of it may depend on a model."""
        return (self.component, self.option) == (other.component, other.option)


class Mistakes:
    """What is wrong at several places, gathered so that all of it is told at once.

    >>> mistakes = Mistakes()
    >>> for value in ("--set lr", "--seeds 0"):
    ...     with mistakes.noted():
    ...         raise GraftworkError(f"{value}: no")
    >>> mistakes.refuse("lm.toml")
    Traceback (most recent call last):
        ...
    graftwork.errors.RecipeError: lm.toml: 2 mistakes
      --set lr: no
      --seeds 0: no
    """

    def __init__(self) -> None:
        self._errors: list[GraftworkError] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep a mistake for later, and go on behind the block."""
        try:
            yield
        except GraftworkError as error:
            self._errors.append(error)

    def refuse(self, source: str) -> None:
        """Do nothing where all was right.

        Args:
            source: what they are mistakes of, where none of them says it.

        Raises:
            GraftworkError: the one mistake as it was raised; a RecipeError of all where there are several.
        """
        if len({str(error) for error in self._errors}) == 1:
            raise self._errors[0]
        lines: list[str] = []
        for error in self._errors:
            lines += error.mistakes if isinstance(error, RecipeError) else [str(error)]
            source = error.source if isinstance(error, RecipeError) else source
        if lines:
            raise RecipeError(source, list(dict.fromkeys(lines)))


class UnknownNameError(GraftworkError, LookupError):
    """A reference that names nothing registered."""


class AmbiguousNameError(GraftworkError, LookupError):
    """A short name that two plugins claim."""


class ContractError(GraftworkError):
    """A registered target that does not keep the contract of its kind."""


class MissingExtraError(GraftworkError):
    """An optional dependency that a component needs is not installed."""


class Interrupted(Exception):  # noqa: N818, as it is what was asked for and no error
    """Work that a signal ended before its time, and that is kept.

    The command line prints the sentence and exits with 128 + the signal's number, as a shell would.

    Args:
        sentence: what was kept, and how to go on.
        number: of the signal.
    """

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.number = number


def with_article(noun: str) -> str:
    """A noun, or the name of a class, with its article.

    >>> with_article("model"), with_article("optimizer"), with_article("AdamW")
    ('a model', 'an optimizer', 'an AdamW')
    """
    return f"{'an' if noun[:1].lower() in [*'aeiou'] else 'a'} {noun}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``", did you mean 'x' or 'y'?"``, or an empty string where nothing known comes close.

    >>> did_you_mean("gwt-adam", ["adamw", "gwt-adamw", "sgd"])
    ", did you mean 'gwt-adamw'?"
    >>> did_you_mean("zebra", ["adamw"])
    ''
    """
    close = close_matches(name, known)
    return f", did you mean {' or '.join(map(repr, close))}?" if close else ""


def close_matches(name: str, known: Iterable[str]) -> list[str]:
    """Known names that come close to one, two at most; those alone that differ in case only, if any do.

    >>> close_matches("AdamW", ["adamw", "gwt-adamw"]), close_matches("SGDD", ["sgd"])
    (['adamw'], ['sgd'])
    """
    from difflib import get_close_matches

    by_case: dict[str, list[str]] = {}
    for one in sorted(set(known)):
        by_case.setdefault(one.casefold(), []).append(one)
    if same := by_case.get(name.casefold()):
        return same[:2]
    close = get_close_matches(name.casefold(), by_case, n=2, cutoff=0.7)
    return [one for folded in close for one in by_case[folded]][:2]
