"""How right an answer is: exact match and F1 over words, after normalisation, the best over right answers.

Normalised is lower case without ASCII punctuation, without the articles a, an and the, with single spaces
(SQuAD; Rajpurkar et al., arXiv:1606.05250). F1 = 2 shared / (words of one + words of the other), words
counted with repetition; where one of them has no words, F1 is 1 if neither has any and 0 otherwise.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalized(answer: str) -> str:
    """An answer without what does not count.

    >>> normalized("  The  cat, a CAT! ")
    'cat cat'
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answer: str, right: Iterable[str]) -> float:
    """1 where an answer is one of the right ones, else 0.

    Args:
        answer: what was answered.
        right: right answers.

    >>> exact_match("the Seine.", ["Seine", "river Seine"])
    1.0
    """
    return float(normalized(answer) in {normalized(one) for one in right})


def best_f1(answer: str, right: Iterable[str]) -> float:
    """The largest F1 of an answer with a right one.

    Args:
        answer: what was answered.
        right: right answers, at least one.

    >>> best_f1("the river Seine", ["Seine", "a canal"])
    0.6666666666666666
    """
    return max(_f1(normalized(answer).split(), normalized(one).split()) for one in right)


def _f1(words: list[str], others: list[str]) -> float:
    if not words or not others:
        return float(words == others)
    shared = (Counter(words) & Counter(others)).total()
    return 2 * shared / (len(words) + len(others))
