"""Which agents live in which process."""

from __future__ import annotations


def agents_of(process: int, processes: int, agents: int) -> range:
    """Return consecutive agents; processes differ by one agent at most.

    Args:
        process: of which.
        processes: how many.
        agents: how many.

    Raises:
        ValueError: there are more processes than agents.

    >>> [list(agents_of(process, 4, 10)) for process in range(4)]
    [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]
    """
    if processes > agents:
        raise ValueError(f"agents must be at least the number of processes, {processes}, got {agents}")
    each, left = divmod(agents, processes)
    first = process * each + min(process, left)
    return range(first, first + each + (process < left))


def owners(processes: int, agents: int) -> list[int]:
    """Return the process of every agent.

    >>> owners(2, 3)
    [0, 0, 1]
    """
    return [process for process in range(processes) for _ in agents_of(process, processes, agents)]
