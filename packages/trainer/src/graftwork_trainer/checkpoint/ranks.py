"""What processes that write one checkpoint do together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.distributed as dist

from graftwork import GraftworkError
from graftwork.plugin_code import said_by
from graftwork_trainer.causes import cause_of


class RefusedError(GraftworkError):
    """The system refused to read or write; the next time it may not."""


def rank_and_size() -> tuple[int, int]:
    """This process's number and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gathered(value: Any) -> list[Any]:
    """The values of all processes, by rank."""
    rank, size = rank_and_size()
    values: list[Any] = [None] * size
    if size == 1:
        values[rank] = value
    else:
        dist.all_gather_object(values, value)
    return values


def together(action: Callable[[], Any]) -> list[Any]:
    """Do something in every process; where it fails in one, it fails in all, and none waits for another.

    Returns:
        What the action returned, by rank.

    Raises:
        RefusedError: the system refused it somewhere, and nothing else went wrong.
        GraftworkError: it failed somewhere; the message names the rank where there are several.
    """
    problem, result, refused = None, None, False
    unforeseen: Exception | None = None
    try:
        result = action()
    except OSError as error:
        problem, refused = cause_of(error), True
    except GraftworkError as error:
        problem = str(error)
    except Exception as error:
        problem, unforeseen = f"{type(error).__name__}: {said_by(error)}", error
    outcomes = gathered((problem, result, refused))
    problems = {rank: outcome[0] for rank, outcome in enumerate(outcomes) if outcome[0] is not None}
    if unforeseen is not None:
        raise unforeseen
    if problems:
        told = dict.fromkeys(problems.values())
        alone = len(outcomes) == 1 or (len(problems) == len(outcomes) and len(told) == 1)
        named = [text if alone else f"rank {rank}: {text}" for rank, text in problems.items()]
        kind = RefusedError if all(outcomes[rank][2] for rank in problems) else GraftworkError
        raise kind("; ".join(dict.fromkeys(named)))
    return [outcome[1] for outcome in outcomes]
