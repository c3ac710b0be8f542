"""How a run can have ended, as its ``result.json`` says it."""

COMPLETE_STATUSES = frozenset({"finished", "stopped-early"})
"""By itself, so that its last numbers are its final ones; others are ``interrupted`` and ``failed``."""
