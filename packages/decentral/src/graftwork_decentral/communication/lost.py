"""What a training loop is told when agents are lost or come back."""

from __future__ import annotations

from collections.abc import Sequence

from graftwork import GraftworkError


class AgentsLostError(GraftworkError):
    """Agents do not answer, and the run is to stop.

    Args:
        agents: that are lost.
        processes: that held them.
        step: that could not be made.
        cause: what the transport said.
    """

    def __init__(self, agents: Sequence[int], processes: Sequence[int], step: int, cause: str) -> None:
        who = f"agents {', '.join(map(str, agents))} (process {', '.join(map(str, processes))})"
        super().__init__(
            f"{who} do not answer at step {step}; look at their output, and start again from the newest "
            "checkpoint, or let the others go on without them: on_failure = 'continue' under python -m "
            f"graftwork_decentral.launch ({cause})"
        )
        self.agents, self.processes, self.step = tuple(agents), tuple(processes), step


class MembershipChanged(Exception):  # noqa: N818, as it is news and no error
    """Other agents take part than before; the step in flight is lost and must be made again.

    By the time it is raised the connections work, the graphs are those of the agents who are left, and
    everything in ``communicator.on_membership_change`` has run.

    Args:
        lost: agents that are gone.
        joined: agents that came back, without a state.
        step: to go on with, the same for all.
    """

    def __init__(self, lost: Sequence[int], joined: Sequence[int], step: int) -> None:
        changes = [
            f"agents {', '.join(map(str, agents))} {verb}"
            for agents, verb in ((lost, "are lost"), (joined, "came back"))
            if agents
        ]
        super().__init__(f"{' and '.join(changes) or 'a round was given up'}; all go on with step {step}")
        self.lost, self.joined, self.step = tuple(lost), tuple(joined), step
